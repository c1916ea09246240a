//! The cases that make unary calls.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Checked, MESSAGE_BYTES, check, equal, fit, prompt};
use protobuf::Message as _;
use protobuf::well_known_types::any::Any;
use ttrpc::context::{Context, with_duration, with_metadata};
use ttrpc::{Code, Error, Request, Response};

use crate::protos::empty::Empty;
use crate::protos::test::{EchoRequest, EchoResponse, FailRequest, ProduceRequest};
use crate::protos::test::{SleepRequest, SleepResponse};
use crate::{Peer, SERVICE};

const A_MINUTE: i64 = 60_000; // milliseconds

/// Checks how a call failed. An empty text stands for any.
fn failed<T>(result: ttrpc::Result<T>, code: Code, text: &str) -> Checked {
    match result {
        Ok(_) => Err(format!("expected the call to fail with {code:?}")),
        Err(Error::RpcStatus(status)) if status.code() == code => {
            check(text.is_empty() || status.message == text, || {
                format!("expected the message {text:?}, got {:?}", status.message)
            })
        }
        Err(error) => Err(format!("expected a status of {code:?}, got {error:?}")),
    }
}

/// Checks that a call went well.
fn succeeded<T>(result: ttrpc::Result<T>) -> Checked<T> {
    result.map_err(|error| format!("a call failed: {error:?}"))
}

fn request(text: &str) -> EchoRequest {
    EchoRequest { text: text.into(), ..EchoRequest::default() }
}

fn pairs(reply: &EchoResponse) -> Vec<(&str, &str)> {
    reply.metadata.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect()
}

/// What the metadata case sends.
fn tags() -> Context {
    let tags = ["b", "a", "", "b"].map(String::from).to_vec();
    with_metadata(HashMap::from([("tag".into(), tags)]))
}

impl Peer {
    /// Checks that the connection still works.
    pub fn alive(&self) -> Checked {
        let reply = self.service.echo(Context::default(), &request("still here?"));
        let reply = reply.map_err(|error| format!("the connection is broken: {error:?}"))?;
        equal("text", reply.text.as_str(), "still here?")
    }

    fn slept(&self, context: Context, milliseconds: i64) -> ttrpc::Result<SleepResponse> {
        let request = SleepRequest { milliseconds, ..SleepRequest::default() };
        self.service.sleep(context, &request)
    }

    fn produced(&self, length: usize) -> ttrpc::Result<EchoRequest> {
        let request = ProduceRequest { length: length as u32, ..ProduceRequest::default() };
        self.service.produce(Context::default(), &request)
    }

    fn raw(&self, service: &str, method: &str, payload: &[u8]) -> ttrpc::Result<Response> {
        self.client.request(Request {
            service: service.into(),
            method: method.into(),
            payload: payload.into(),
            ..Request::default()
        })
    }

    pub fn echo(&self) -> Checked {
        let payload = vec![0, 1, 127, 128, 255];
        let mut sent = request("Grüße, 世界");
        sent.payload = payload.clone();
        let reply = succeeded(self.service.echo(Context::default(), &sent))?;
        equal("payload", reply.payload, payload)?;
        equal("text", reply.text.as_str(), "Grüße, 世界")?;
        equal("the number of metadata", reply.metadata.len(), 0)
    }

    pub fn metadata(&self) -> Checked {
        let mut context = tags();
        context.add("Containerd-Namespace-TTRPC".into(), "k8s.io".into());
        let reply = succeeded(self.service.echo(context, &request("")))?;
        // ttrpc sends the keys in any order, but the values of one in theirs.
        let mut received = pairs(&reply);
        received.sort_by_key(|(key, _)| *key);
        let expected = [
            ("containerd-namespace-ttrpc", "k8s.io"),
            ("tag", "b"),
            ("tag", "a"),
            ("tag", ""),
            ("tag", "b"),
        ];
        equal("metadata", received, expected.to_vec())
    }

    pub fn error_with_details(&self) -> Checked {
        let detail = Any { type_url: "a/b.C".into(), value: vec![8, 3], ..Any::default() };
        let request = FailRequest {
            code: Code::NOT_FOUND as i32,
            message: "no such task: größer".into(),
            details: vec![detail],
            ..FailRequest::default()
        };
        let result = self.service.fail(Context::default(), &request);
        failed(result.clone(), Code::NOT_FOUND, "no such task: größer")?;
        if let Err(Error::RpcStatus(status)) = result {
            let details = status.details.iter();
            let details: Vec<_> = details.map(|any| (&*any.type_url, &*any.value)).collect();
            equal("details", details, vec![("a/b.C", &[8, 3][..])])?;
        }
        self.alive()
    }

    // A known defect: a code that ttrpc does not know is taken for zero, which is success.
    pub fn odd_code(&self) -> Checked {
        let request = FailRequest { code: 99, message: "odd".into(), ..FailRequest::default() };
        let result = self.service.fail(Context::default(), &request);
        equal("the result", result, Ok(Empty::new()))?;
        self.alive()
    }

    pub fn plain_error(&self) -> Checked {
        let result = self.slept(Context::default(), -1);
        failed(result, Code::UNKNOWN, "cannot sleep for -1 ms")?;
        self.alive()
    }

    pub fn deadline_told(&self) -> Checked {
        let reply = succeeded(self.slept(Context::default(), 0))?;
        equal("the time left", reply.deadline_milliseconds, 0)?;
        let context = with_duration(Duration::from_millis(A_MINUTE as u64));
        let left = succeeded(self.slept(context, 0))?.deadline_milliseconds;
        check(left > A_MINUTE / 2 && left <= A_MINUTE, || {
            format!("the server was given {left} ms of {A_MINUTE}")
        })
    }

    pub fn deadline_passes(&self) -> Checked {
        let start = Instant::now();
        let context = with_duration(Duration::from_millis(100));
        match self.slept(context, A_MINUTE) {
            // A known defect: what the client's own clock ends has no status.
            Err(Error::Others(text))
                if text == "Receive packet from Receiver timeout: timed out waiting on channel" => {
            }
            // The server's answer may be faster.
            result => failed(result, Code::DEADLINE_EXCEEDED, "")?,
        }
        prompt(start)?;
        self.alive()
    }

    pub fn request_limit(&self) -> Checked {
        let sized = |length| EchoRequest { payload: vec![0; length], ..EchoRequest::default() };
        let length = fit(|length| {
            let request = Request {
                service: SERVICE.into(),
                method: "Echo".into(),
                payload: sized(length).write_to_bytes().unwrap(),
                ..Request::default()
            };
            request.compute_size() as usize
        });
        let reply = succeeded(self.service.echo(Context::default(), &sized(length)))?;
        equal("the length", reply.payload.len(), length)?;
        let result = self.service.echo(Context::default(), &sized(length + 1));
        equal("the error", result, Err(Error::Others(too_long())))?;
        self.alive()
    }

    pub fn reply_limit(&self) -> Checked {
        let length = fit(|length| {
            let reply = EchoRequest { payload: vec![0; length], ..EchoRequest::default() };
            let payload = reply.write_to_bytes().unwrap();
            Response { payload, ..Response::default() }.compute_size() as usize
        });
        equal("the length", succeeded(self.produced(length))?.payload.len(), length)?;
        failed(self.produced(length + 1), Code::RESOURCE_EXHAUSTED, &too_long())?;
        self.alive()
    }

    pub fn empty(&self) -> Checked {
        succeeded(self.service.nothing(Context::default(), &Empty::new()))?;
        let reply = succeeded(self.service.echo(Context::default(), &request("")))?;
        equal("the length of the reply", reply.compute_size(), 0)
    }

    pub fn unknown(&self) -> Checked {
        let result = self.raw("no.such.Service", "Echo", &[]);
        failed(result, Code::UNIMPLEMENTED, "service no.such.Service")?;
        let result = self.raw(SERVICE, "Missing", &[]);
        failed(result, Code::UNIMPLEMENTED, "method Missing")?;
        let result = self.raw(SERVICE, "echo", &[]);
        failed(result, Code::UNIMPLEMENTED, "method echo")?;
        self.alive()
    }

    pub fn malformed_payload(&self) -> Checked {
        // 127 bytes are announced, none come.
        failed(self.raw(SERVICE, "Echo", &[0x0a, 0x7f]), Code::INTERNAL, "")?;
        self.alive()
    }

    pub fn concurrent(&self) -> Checked {
        let calls: Vec<_> = (0..1_000)
            .map(|i| {
                let service = self.service.clone();
                thread::spawn(move || {
                    let text = format!("{i}{}", ".".repeat(i));
                    let reply = succeeded(service.echo(Context::default(), &request(&text)))?;
                    equal("text", reply.text, text)
                })
            })
            .collect();
        for call in calls {
            call.join().map_err(|_| "a call has panicked")??;
        }
        self.alive()
    }
}

fn too_long() -> String {
    let length = MESSAGE_BYTES + 1;
    format!("message length {length} exceed maximum message size of {MESSAGE_BYTES}")
}
