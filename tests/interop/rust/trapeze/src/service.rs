//! Behaves as proto/ttrpc/test/v1/test.proto says.

use std::time::Duration;

use tokio::time::sleep;
use trapeze::stream::{Stream, try_stream};
use trapeze::{Code, Result, Status, get_context};

use crate::protos::{CountRequest, CountResponse, EchoRequest, EchoResponse, FailRequest, Pair};
use crate::protos::{ProduceRequest, SleepRequest, SleepResponse, TestService};

pub struct Tests;

impl TestService for Tests {
    async fn echo(&self, request: EchoRequest) -> Result<EchoResponse> {
        assert!(request.text != "panic", "asked to panic");
        Ok(reply(request))
    }

    async fn fail(&self, request: FailRequest) -> Result<()> {
        let FailRequest { code, message, details } = request;
        Err(Status { code, message, details })
    }

    async fn sleep(&self, request: SleepRequest) -> Result<SleepResponse> {
        let Ok(milliseconds) = u64::try_from(request.milliseconds) else {
            return Err(Status::unknown(format!("cannot sleep for {} ms", request.milliseconds)));
        };
        let deadline_milliseconds = get_context().timeout.as_nanos() / 1_000_000;
        sleep(Duration::from_millis(milliseconds)).await;
        Ok(SleepResponse { deadline_milliseconds })
    }

    async fn nothing(&self, (): ()) -> Result<()> {
        Ok(())
    }

    async fn produce(&self, request: ProduceRequest) -> Result<EchoRequest> {
        Ok(EchoRequest { payload: vec![0; request.length as usize], text: String::new() })
    }

    fn count(&self, request: CountRequest) -> impl Stream<Item = Result<CountResponse>> + Send {
        try_stream! {
            for value in 0..request.count {
                yield CountResponse { value: value.into() };
            }
        }
    }

    async fn sum(
        &self,
        requests: impl Stream<Item = CountResponse> + Send,
    ) -> Result<CountResponse> {
        use futures::StreamExt as _;
        let value = requests.fold(0, async |sum, request| sum + request.value).await;
        Ok(CountResponse { value })
    }

    fn chat(
        &self,
        requests: impl Stream<Item = EchoRequest> + Send,
    ) -> impl Stream<Item = Result<EchoResponse>> + Send {
        try_stream! {
            for await request in requests {
                if request.text == "fail" {
                    Err(Status::new(Code::FailedPrecondition, "asked to fail"))?;
                }
                yield reply(request);
            }
        }
    }
}

fn reply(EchoRequest { payload, text }: EchoRequest) -> EchoResponse {
    EchoResponse { payload, text, metadata: metadata() }
}

// Sorted by key: trapeze keeps it in a map.
fn metadata() -> Vec<Pair> {
    let context = get_context();
    let mut entries: Vec<_> = context.metadata.iter().collect();
    entries.sort();
    let pairs = entries.into_iter().flat_map(|(key, values)| {
        values.iter().map(|value| Pair { key: key.clone(), value: value.clone() })
    });
    pairs.collect()
}
