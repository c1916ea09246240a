//! The cases that stream.

use std::time::{Duration, Instant};

use harness::{Checked, check, equal, fit, prompt};

use super::Peer;
use super::calls::{failed, request, succeeded, tagged, tagging};
use crate::api::prost::Message as _;
use crate::api::{Chat, ClientExt as _, Code, StreamExt as _, stream_of};
use crate::protos::{CountRequest, CountResponse, EchoRequest, EchoResponse, TestService as _};

impl Chat {
    async fn receive(&mut self) -> Checked<EchoResponse> {
        match self.receiver.next().await {
            Some(response) => succeeded(response),
            None => Err("expected a message, got the end of the stream".into()),
        }
    }

    /// Sends a text, and expects it back.
    async fn say(&mut self, text: &str) -> Checked {
        self.send(request(text));
        equal("text", self.receive().await?.text.as_str(), text)
    }

    async fn fails(&mut self, code: Code, text: &str) -> Checked {
        let next = self.receiver.next().await;
        failed(next.ok_or("expected an error, got the end of the stream")?, code, text)
    }

    async fn hang_up(mut self) -> Checked {
        self.close();
        let end = self.receiver.next().await;
        check(end.is_none(), || format!("expected the end of the stream, got {end:?}"))
    }
}

impl Peer {
    fn start_chat(&self) -> Chat {
        Chat::start(&self.client)
    }

    async fn counted(&self, count: u32) -> Checked {
        let mut responses = Box::pin(self.client.count(CountRequest { count }));
        let mut next = 0;
        while let Some(response) = responses.next().await {
            equal("value", succeeded(response)?.value, next)?;
            next += 1;
        }
        equal("the number of messages", next, count.into())
    }

    async fn summed(&self, count: i64) -> Checked {
        let requests = stream_of((0..count).map(|value| CountResponse { value }));
        let sum = succeeded(self.client.sum(requests).await)?;
        equal("the sum", sum.value, count * (count - 1) / 2)
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
        let mut chat = self.start_chat();
        for i in 0..100 {
            chat.say(&format!("line {i}")).await?;
        }
        chat.say("").await?; // an empty message is one, too
        chat.hang_up().await?;
        self.alive().await
    }

    pub async fn chat_metadata(&self) -> Checked {
        let mut chat = Chat::start(&tagging(&self.client));
        chat.send(request(""));
        tagged(&chat.receive().await?)?;
        chat.hang_up().await
    }

    pub async fn chat_limit(&self) -> Checked {
        let sized = |length| EchoRequest { payload: vec![0; length], text: String::new() };
        let length = fit(|length| sized(length).encoded_len());
        let mut chat = self.start_chat();
        chat.send(sized(length));
        equal("the length", chat.receive().await?.payload.len(), length)?;
        chat.send(sized(length + 1));
        chat.fails(Code::Internal, "").await?;
        self.alive().await
    }

    pub async fn stream_deadline(&self) -> Checked {
        let start = Instant::now();
        let mut chat = Chat::start(&self.client.with_timeout(Duration::from_millis(100)));
        chat.fails(Code::DeadlineExceeded, "").await?;
        prompt(start)?;
        self.alive().await
    }

    pub async fn stream_fails(&self) -> Checked {
        let mut chat = self.start_chat();
        chat.say("before").await?;
        chat.send(request("fail"));
        chat.fails(Code::FailedPrecondition, "asked to fail").await?;
        self.alive().await
    }

    // A known defect: the client picks at random from a message that waits and the error that
    // came after it, and what still waits then is lost.
    pub async fn stream_fails_at_once(&self) -> Checked {
        let mut chat = self.start_chat();
        for i in 0..100 {
            chat.send(request(&i.to_string()));
        }
        chat.send(request("fail"));
        let mut received = 0;
        let status = loop {
            match chat.receiver.next().await {
                Some(Ok(response)) => {
                    equal("text", response.text, received.to_string())?;
                    received += 1;
                }
                other => break other,
            }
        };
        let status = status.ok_or("expected an error, got the end of the stream")?;
        failed(status, Code::FailedPrecondition, "asked to fail")?;
        eprintln!("{received} of 100 messages came before the error");
        self.alive().await
    }

    /// Streams that are dropped: the first one is closed thereby, of the other nothing tells.
    pub async fn stream_give_up(&self) -> Checked {
        let mut chat = self.start_chat();
        chat.say("before").await?;
        drop(chat);
        let mut responses = Box::pin(self.client.count(CountRequest { count: 1000 }));
        check(responses.next().await.is_some_and(|first| first.is_ok()), || {
            "expected a first message".into()
        })?;
        drop(responses);
        self.alive().await?;
        self.counted(10).await
    }

    pub async fn stream_unknown(&self) -> Checked {
        let next = Box::pin(self.missing_stream()).next().await;
        let next = next.ok_or("expected an error, got the end of the stream")?;
        failed(next, Code::Unimplemented, "method Missing")?;
        self.alive().await
    }

    pub async fn streams_concurrent(&self) -> Checked {
        let mut chats: Vec<_> = (0..20).map(|_| self.start_chat()).collect();
        for round in 0..10 {
            for (i, chat) in chats.iter_mut().enumerate() {
                chat.say(&format!("chat {i}, round {round}")).await?;
            }
            self.alive().await?;
        }
        for chat in chats {
            chat.hang_up().await?;
        }
        Ok(())
    }

    pub async fn count_many(&self) -> Checked {
        self.counted(10_000).await?;
        self.alive().await
    }

    pub async fn sum_many(&self) -> Checked {
        self.summed(10_000).await?;
        self.alive().await
    }

    pub async fn chat_many(&self) -> Checked {
        let requests = stream_of((0..10_000).map(|i| request(&i.to_string())));
        let mut responses = Box::pin(self.client.chat(requests));
        let mut next = 0;
        while let Some(response) = responses.next().await {
            equal("text", succeeded(response)?.text, next.to_string())?;
            next += 1;
        }
        equal("the number of messages", next, 10_000)?;
        self.alive().await
    }
}
