//! The cases that stream.

use std::time::{Duration, Instant};

use harness::{Checked, check, equal, fit, prompt};
use protobuf::Message as _;
use ttrpc::r#async::{ClientStream, ClientStreamReceiver};
use ttrpc::context::{Context, with_duration};
use ttrpc::{Code, Error, Request};

use crate::calls::{failed, request, succeeded, tagged, tags};
use crate::protos::test::{CountRequest, CountResponse, EchoRequest, EchoResponse};
use crate::{Peer, SERVICE};

type Chat = ClientStream<EchoRequest, EchoResponse>;

/// Sends a text, and expects it back.
async fn say(chat: &mut Chat, text: &str) -> Checked {
    succeeded(chat.send(&request(text)).await)?;
    equal("text", succeeded(chat.recv().await)?.text.as_str(), text)
}

async fn hang_up(mut chat: Chat) -> Checked {
    succeeded(chat.close_send().await)?;
    match chat.recv().await {
        Err(Error::Eof) => Ok(()),
        other => Err(format!("expected the end of the stream, got {other:?}")),
    }
}

fn value(value: i64) -> CountResponse {
    CountResponse { value, ..CountResponse::default() }
}

impl Peer {
    async fn start_count(&self, count: u32) -> Checked<ClientStreamReceiver<CountResponse>> {
        let request = CountRequest { count, ..CountRequest::default() };
        succeeded(self.service.count(Context::default(), &request).await)
    }

    async fn start_chat(&self) -> Checked<Chat> {
        succeeded(self.service.chat(Context::default()).await)
    }

    async fn counted(&self, count: u32) -> Checked {
        let mut responses = self.start_count(count).await?;
        let mut next = 0;
        while let Some(response) = succeeded(responses.recv().await)? {
            equal("value", response.value, next)?;
            next += 1;
        }
        equal("the number of messages", next, count.into())
    }

    async fn summed(&self, count: i64) -> Checked {
        let mut requests = succeeded(self.service.sum(Context::default()).await)?;
        for i in 0..count {
            succeeded(requests.send(&value(i)).await)?;
        }
        let sum = succeeded(requests.close_and_recv().await)?;
        equal("the sum", sum.value, count * (count - 1) / 2)
    }

    pub async fn deadline_by_server(&self) -> Checked {
        // ttrpc's own clock is for unary calls; for a stream, it is for the server to keep time.
        let start = Instant::now();
        let context = with_duration(Duration::from_millis(100));
        let mut chat = succeeded(self.service.chat(context).await)?;
        failed(chat.recv().await, Code::DEADLINE_EXCEEDED, "")?;
        prompt(start)?;
        self.alive().await
    }

    pub async fn count(&self) -> Checked {
        for count in [0, 1, 1000] {
            self.counted(count).await?;
        }
        self.alive().await
    }

    pub async fn sum(&self) -> Checked {
        for count in [0, 1, 1000] {
            self.summed(count).await?;
        }
        self.alive().await
    }

    pub async fn chat(&self) -> Checked {
        let mut chat = self.start_chat().await?;
        for i in 0..100 {
            say(&mut chat, &format!("line {i}")).await?;
        }
        say(&mut chat, "").await?; // an empty message is one, too
        hang_up(chat).await?;
        self.alive().await
    }

    pub async fn chat_metadata(&self) -> Checked {
        let mut chat = succeeded(self.service.chat(tags()).await)?;
        succeeded(chat.send(&request("")).await)?;
        tagged(&succeeded(chat.recv().await)?)?;
        hang_up(chat).await
    }

    pub async fn chat_limit(&self) -> Checked {
        let sized = |length| EchoRequest { payload: vec![0; length], ..EchoRequest::default() };
        let length = fit(|length| sized(length).compute_size() as usize);
        let mut chat = self.start_chat().await?;
        succeeded(chat.send(&sized(length)).await)?;
        equal("the length", succeeded(chat.recv().await)?.payload.len(), length)?;
        failed(chat.send(&sized(length + 1)).await, Code::INVALID_ARGUMENT, "")?;
        say(&mut chat, "short").await?;
        hang_up(chat).await?;
        self.alive().await
    }

    pub async fn stream_fails(&self) -> Checked {
        let mut chat = self.start_chat().await?;
        say(&mut chat, "before").await?;
        succeeded(chat.send(&request("fail")).await)?;
        failed(chat.recv().await, Code::FAILED_PRECONDITION, "asked to fail")?;
        self.alive().await
    }

    /// Streams that are dropped: nothing tells the server of them.
    pub async fn stream_give_up(&self) -> Checked {
        let mut chat = self.start_chat().await?;
        say(&mut chat, "before").await?;
        drop(chat);
        let mut responses = self.start_count(1000).await?;
        succeeded(responses.recv().await)?;
        drop(responses);
        self.alive().await?;
        self.counted(10).await
    }

    pub async fn stream_unknown(&self) -> Checked {
        let stream = self.client.new_stream(
            Request { service: SERVICE.into(), method: "Missing".into(), ..Request::default() },
            true,
            true,
        );
        let mut stream = succeeded(stream.await)?;
        failed(stream.recv().await, Code::UNIMPLEMENTED, "method Missing")?;
        self.alive().await
    }

    pub async fn streams_concurrent(&self) -> Checked {
        let mut chats = Vec::new();
        for _ in 0..20 {
            chats.push(self.start_chat().await?);
        }
        for round in 0..10 {
            for (i, chat) in chats.iter_mut().enumerate() {
                say(chat, &format!("chat {i}, round {round}")).await?;
            }
            self.alive().await?;
        }
        for chat in chats {
            hang_up(chat).await?;
        }
        Ok(())
    }

    pub async fn count_many(&self) -> Checked {
        self.counted(10_000).await?;
        self.alive().await
    }

    // A known defect: each frame is handed on by a task of its own. On more than one thread the
    // messages overtake each other, and those that the end overtakes are lost.
    pub async fn count_many_reordered(&self) -> Checked {
        let mut responses = self.start_count(10_000).await?;
        let mut values = Vec::new();
        while let Some(response) = succeeded(responses.recv().await)? {
            values.push(response.value);
        }
        let received = values.len();
        let overtaken = values.windows(2).filter(|pair| pair[0] > pair[1]).count();
        values.sort();
        values.dedup();
        equal("the number of different messages", values.len(), received)?;
        check(received <= 10_000, || format!("there were {received} messages"))?;
        eprintln!("{received} of 10000 messages came, {overtaken} of them too late");
        self.alive().await
    }

    pub async fn sum_many(&self) -> Checked {
        self.summed(10_000).await?;
        self.alive().await
    }

    pub async fn chat_many(&self) -> Checked {
        let chat = self.start_chat().await?;
        let (sender, mut receiver) = chat.split();
        let sending = tokio::spawn(async move {
            for i in 0..10_000 {
                sender.send(&request(&i.to_string())).await?;
            }
            sender.close_send().await
        });
        for i in 0..10_000 {
            equal("text", succeeded(receiver.recv().await)?.text, i.to_string())?;
        }
        let end = receiver.recv().await;
        check(end == Err(Error::Eof), || format!("expected the end of the stream, got {end:?}"))?;
        succeeded(sending.await.map_err(|error| error.to_string())?)?;
        self.alive().await
    }
}
