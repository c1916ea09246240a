//! Behaves as proto/ttrpc/test/v1/test.proto says.

use std::pin::pin;
use std::time::Duration;

use rama_ttrpc::stream::{Stream, StreamExt as _, try_stream_fn};
use rama_ttrpc::{Code, Result, Status, get_context};
use tokio::time::sleep;

use crate::protos::{CountRequest, CountResponse, EchoRequest, EchoResponse, FailRequest};
use crate::protos::{NoFields, Pair, ProduceRequest, SleepRequest, SleepResponse, TestService};

pub struct Tests;

impl TestService for Tests {
    async fn echo(&self, request: EchoRequest) -> Result<EchoResponse> {
        assert!(request.text != "panic", "asked to panic");
        Ok(reply(request))
    }

    async fn fail(&self, request: FailRequest) -> Result<NoFields> {
        let FailRequest { code, message, details } = request;
        Err(Status { code, message, details })
    }

    async fn sleep(&self, request: SleepRequest) -> Result<SleepResponse> {
        let Ok(milliseconds) = u64::try_from(request.milliseconds) else {
            return Err(Status::unknown(format!("cannot sleep for {} ms", request.milliseconds)));
        };
        let timeout = get_context().map(|context| context.timeout).unwrap_or_default();
        sleep(Duration::from_millis(milliseconds)).await;
        Ok(SleepResponse { deadline_milliseconds: timeout.as_nanos() / 1_000_000 })
    }

    async fn nothing(&self, request: NoFields) -> Result<NoFields> {
        Ok(request)
    }

    async fn produce(&self, request: ProduceRequest) -> Result<EchoRequest> {
        Ok(EchoRequest { payload: vec![0; request.length as usize], text: String::new() })
    }

    fn count(&self, request: CountRequest) -> impl Stream<Item = Result<CountResponse>> + Send {
        try_stream_fn(move |mut responses| async move {
            for value in 0..request.count {
                responses.yield_ok(CountResponse { value: value.into() }).await;
            }
            Ok(())
        })
    }

    async fn sum(
        &self,
        requests: impl Stream<Item = CountResponse> + Send,
    ) -> Result<CountResponse> {
        let value = requests.fold(0, async |sum, request| sum + request.value).await;
        Ok(CountResponse { value })
    }

    fn chat(
        &self,
        requests: impl Stream<Item = EchoRequest> + Send,
    ) -> impl Stream<Item = Result<EchoResponse>> + Send {
        try_stream_fn(move |mut responses| async move {
            let mut requests = pin!(requests);
            while let Some(request) = requests.next().await {
                if request.text == "fail" {
                    return Err(Status::new(Code::FailedPrecondition, "asked to fail"));
                }
                responses.yield_ok(reply(request)).await;
            }
            Ok(())
        })
    }
}

fn reply(EchoRequest { payload, text }: EchoRequest) -> EchoResponse {
    EchoResponse { payload, text, metadata: metadata() }
}

// Sorted by key: rama keeps it in a map.
fn metadata() -> Vec<Pair> {
    let Some(context) = get_context() else { return Vec::new() };
    let mut entries: Vec<_> = context.metadata.iter().collect();
    entries.sort();
    let pairs = entries.into_iter().flat_map(|(key, values)| {
        values.iter().map(|value| Pair { key: key.clone(), value: value.clone() })
    });
    pairs.collect()
}
