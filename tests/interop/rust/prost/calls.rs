//! The cases that make unary calls.

use std::time::{Duration, Instant};

use harness::{Checked, MESSAGE_BYTES, check, equal, fit, prompt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Peer, SERVICE};
use crate::api::prost::Message as _;
use crate::api::{Any, Client, ClientExt as _, Code, Result, Status};
use crate::protos::{EchoRequest, EchoResponse, FailRequest, ProduceRequest, SleepRequest};
use crate::protos::{Request, Response, SleepResponse, TestService as _};

const A_MINUTE: i64 = 60_000; // milliseconds

/// Checks how a call failed. An empty text stands for any.
pub fn failed<T>(result: Result<T>, code: Code, text: &str) -> Checked {
    failed_with(result, code as i32, text)
}

fn failed_with<T>(result: Result<T>, code: i32, text: &str) -> Checked {
    let Err(status) = result else {
        return Err(format!("expected the call to fail with {code}"));
    };
    check(status.code == code && (text.is_empty() || status.message == text), || {
        format!("expected a status of {code} {text:?}, got {status:?}")
    })
}

/// Checks that a call went well.
pub fn succeeded<T>(result: Result<T>) -> Checked<T> {
    result.map_err(|status| format!("a call failed: {status:?}"))
}

pub fn request(text: &str) -> EchoRequest {
    EchoRequest { payload: Vec::new(), text: text.into() }
}

fn pairs(reply: &EchoResponse) -> Vec<(&str, &str)> {
    reply.metadata.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect()
}

/// The same client, with what the metadata cases send.
pub fn tagging(client: &Client) -> Client {
    client.with_metadata([("tag", "b"), ("tag", "a"), ("tag", ""), ("tag", "b")])
}

/// Checks that the metadata of [`tagging`] has come back.
pub fn tagged(reply: &EchoResponse) -> Checked {
    let expected = vec![("tag", "b"), ("tag", "a"), ("tag", ""), ("tag", "b")];
    equal("metadata", pairs(reply), expected)
}

async fn slept(client: &Client, milliseconds: i64) -> Result<SleepResponse> {
    client.sleep(SleepRequest { milliseconds }).await
}

/// Makes 1,000 calls, and tells how many had no answer until their deadline.
pub async fn many_at_once(client: &Client) -> Checked<usize> {
    let mut calls = JoinSet::new();
    for i in 0..1_000 {
        let client = client.clone();
        calls.spawn(async move {
            let text = format!("{i}{}", ".".repeat(i));
            let result = client.echo(request(&text)).await;
            (text, result)
        });
    }
    let mut lost = 0;
    while let Some(call) = calls.join_next().await {
        let (text, result) = call.map_err(|error| error.to_string())?;
        if result.as_ref().is_err_and(|status| status.code == Code::DeadlineExceeded as i32) {
            lost += 1;
            continue;
        }
        equal("text", succeeded(result)?.text, text)?;
    }
    Ok(lost)
}

impl Peer {
    /// Checks that the connection still works.
    pub async fn alive(&self) -> Checked {
        let reply = self.client.echo(request("still here?")).await;
        let reply = reply.map_err(|status| format!("the connection is broken: {status:?}"))?;
        equal("text", reply.text.as_str(), "still here?")
    }

    async fn produced(&self, length: usize) -> Result<EchoRequest> {
        self.client.produce(ProduceRequest { length: length as u32 }).await
    }

    pub async fn echo(&self) -> Checked {
        let sent =
            EchoRequest { payload: vec![0, 1, 127, 128, 255], text: "Grüße, 世界".into() };
        let reply = succeeded(self.client.echo(sent.clone()).await)?;
        equal("payload", reply.payload, sent.payload)?;
        equal("text", reply.text, sent.text)?;
        equal("the number of metadata", reply.metadata.len(), 0)
    }

    pub async fn metadata(&self) -> Checked {
        let client = tagging(&self.client);
        tagged(&succeeded(client.echo(request("")).await)?)?;
        // Keys are sent as they are written; ours tells its handlers lower case.
        let client = self.client.with_metadata([("Containerd-Namespace-TTRPC", "k8s.io")]);
        let reply = succeeded(client.echo(request("")).await)?;
        equal("metadata", pairs(&reply), vec![("containerd-namespace-ttrpc", "k8s.io")])
    }

    pub async fn error_with_details(&self) -> Checked {
        let details = vec![Any { type_url: "a/b.C".into(), value: vec![8, 3] }];
        let asked =
            Status {
                code: Code::NotFound as i32, message: "no such task: größer".into(), details
            };
        let Status { code, message, details } = asked.clone();
        let result = self.client.fail(FailRequest { code, message, details }).await;
        equal("the status", result.map(|_| ()), Err(asked))?;
        self.alive().await
    }

    pub async fn odd_code(&self) -> Checked {
        let request = FailRequest { code: 99, message: "odd".into(), details: Vec::new() };
        failed_with(self.client.fail(request).await, 99, "odd")?;
        self.alive().await
    }

    pub async fn plain_error(&self) -> Checked {
        failed(slept(&self.client, -1).await, Code::Unknown, "cannot sleep for -1 ms")?;
        self.alive().await
    }

    pub async fn deadline_told(&self) -> Checked {
        let reply = succeeded(slept(&self.client, 0).await)?;
        equal("the time left", reply.deadline_milliseconds, 0)?;
        let client = self.client.with_timeout(Duration::from_millis(A_MINUTE as u64));
        let left = succeeded(slept(&client, 0).await)?.deadline_milliseconds;
        check(left > A_MINUTE / 2 && left <= A_MINUTE, || {
            format!("the server was given {left} ms of {A_MINUTE}")
        })
    }

    pub async fn deadline_passes(&self) -> Checked {
        let start = Instant::now();
        let client = self.client.with_timeout(Duration::from_millis(100));
        failed(slept(&client, A_MINUTE).await, Code::DeadlineExceeded, "")?;
        prompt(start)?;
        self.alive().await
    }

    pub async fn request_limit(&self) -> Checked {
        let sized = |length| EchoRequest { payload: vec![0; length], text: String::new() };
        let length = fit(|length| {
            let request = Request {
                service: SERVICE.into(),
                method: "Echo".into(),
                payload: sized(length).encode_to_vec(),
                timeout_nano: 0,
                metadata: Vec::new(),
            };
            request.encoded_len()
        });
        let reply = succeeded(self.client.echo(sized(length)).await)?;
        equal("the length", reply.payload.len(), length)?;
        failed(self.client.echo(sized(length + 1)).await, Code::Internal, "")?;
        self.alive().await
    }

    pub async fn reply_limit(&self) -> Checked {
        let length = fit(|length| {
            let reply = EchoRequest { payload: vec![0; length], text: String::new() };
            Response { status: None, payload: reply.encode_to_vec() }.encoded_len()
        });
        equal("the length", succeeded(self.produced(length).await)?.payload.len(), length)?;
        failed(self.produced(length + 1).await, Code::ResourceExhausted, &too_long())?;
        self.alive().await
    }

    pub async fn empty(&self) -> Checked {
        succeeded(self.client.nothing(Default::default()).await)?;
        let reply = succeeded(self.client.echo(request("")).await)?;
        equal("the length of the reply", reply.encoded_len(), 0)
    }

    pub async fn unknown(&self) -> Checked {
        let result = self.raw("no.such.Service", "Echo", request("")).await;
        failed(result, Code::Unimplemented, "service no.such.Service")?;
        let result = self.raw(SERVICE, "Missing", request("")).await;
        failed(result, Code::Unimplemented, "method Missing")?;
        let result = self.raw(SERVICE, "echo", request("")).await;
        failed(result, Code::Unimplemented, "method echo")?;
        self.alive().await
    }

    pub async fn malformed_payload(&self) -> Checked {
        // A field of the payload says that it has bytes; the method's message wants a number.
        let result = self.raw(SERVICE, "Sleep", EchoRequest { payload: vec![1], ..request("") });
        failed(result.await, Code::Internal, "")?;
        self.alive().await
    }

    pub async fn concurrent(&self) -> Checked {
        equal("the number of answers that were lost", many_at_once(&self.client).await?, 0)?;
        self.alive().await
    }

    /// A call that is dropped: nothing tells the server of it.
    pub async fn give_up(&self) -> Checked {
        let call = slept(&self.client, 100);
        check(timeout(Duration::from_millis(10), call).await.is_err(), || {
            "expected the call to take longer".into()
        })?;
        // The answer to the dropped call comes while this one waits.
        succeeded(slept(&self.client, 200).await)?;
        self.alive().await
    }
}

fn too_long() -> String {
    let length = MESSAGE_BYTES + 1;
    format!("message length {length} exceed maximum message size of {MESSAGE_BYTES}")
}
