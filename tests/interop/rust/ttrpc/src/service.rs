//! Behaves as proto/ttrpc/test/v1/test.proto says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protobuf::EnumOrUnknown;
use tokio::time::sleep;
use ttrpc::r#async::{ServerStream, ServerStreamReceiver, ServerStreamSender};
use ttrpc::r#async::{Service, TtrpcContext};
use ttrpc::proto::Any;
use ttrpc::{Code, Error, Result, Status, get_status};

use crate::protos::empty::Empty;
use crate::protos::test::{CountRequest, CountResponse, EchoRequest, EchoResponse, FailRequest};
use crate::protos::test::{Pair, ProduceRequest, SleepRequest, SleepResponse};
use crate::protos::test_ttrpc::{TestService, create_test_service};

pub fn create() -> HashMap<String, Service> {
    create_test_service(Arc::new(Tests))
}

struct Tests;

#[async_trait]
impl TestService for Tests {
    async fn echo(&self, context: &TtrpcContext, request: EchoRequest) -> Result<EchoResponse> {
        assert!(request.text != "panic", "asked to panic");
        Ok(reply(context, request))
    }

    async fn fail(&self, _: &TtrpcContext, request: FailRequest) -> Result<Empty> {
        let mut status = Status::new();
        status.code = EnumOrUnknown::from_i32(request.code);
        status.message = request.message;
        for detail in request.details {
            status.details.push(Any {
                type_url: detail.type_url,
                value: detail.value,
                ..Any::default()
            });
        }
        Err(Error::RpcStatus(status))
    }

    async fn sleep(&self, context: &TtrpcContext, request: SleepRequest) -> Result<SleepResponse> {
        let Ok(milliseconds) = u64::try_from(request.milliseconds) else {
            return Err(Error::Others(format!("cannot sleep for {} ms", request.milliseconds)));
        };
        sleep(Duration::from_millis(milliseconds)).await;
        Ok(SleepResponse {
            deadline_milliseconds: context.timeout_nano / 1_000_000,
            ..SleepResponse::default()
        })
    }

    async fn nothing(&self, _: &TtrpcContext, request: Empty) -> Result<Empty> {
        Ok(request)
    }

    async fn produce(&self, _: &TtrpcContext, request: ProduceRequest) -> Result<EchoRequest> {
        Ok(EchoRequest { payload: vec![0; request.length as usize], ..EchoRequest::default() })
    }

    async fn count(
        &self,
        _: &TtrpcContext,
        request: CountRequest,
        responses: ServerStreamSender<CountResponse>,
    ) -> Result<()> {
        for value in 0..request.count {
            let value = value.into();
            responses.send(&CountResponse { value, ..CountResponse::default() }).await?;
        }
        Ok(())
    }

    async fn sum(
        &self,
        _: &TtrpcContext,
        mut requests: ServerStreamReceiver<CountResponse>,
    ) -> Result<CountResponse> {
        let mut value = 0;
        while let Some(request) = requests.recv().await? {
            value += request.value;
        }
        Ok(CountResponse { value, ..CountResponse::default() })
    }

    async fn chat(
        &self,
        context: &TtrpcContext,
        mut stream: ServerStream<EchoResponse, EchoRequest>,
    ) -> Result<()> {
        while let Some(request) = stream.recv().await? {
            if request.text == "fail" {
                return Err(Error::RpcStatus(get_status(
                    Code::FAILED_PRECONDITION,
                    "asked to fail",
                )));
            }
            stream.send(&reply(context, request)).await?;
        }
        Ok(())
    }
}

fn reply(context: &TtrpcContext, request: EchoRequest) -> EchoResponse {
    EchoResponse {
        payload: request.payload,
        text: request.text,
        metadata: metadata(context),
        ..EchoResponse::default()
    }
}

// Sorted by key: ttrpc keeps it in a map.
fn metadata(context: &TtrpcContext) -> Vec<Pair> {
    let mut entries: Vec<_> = context.metadata.iter().collect();
    entries.sort();
    let pairs = entries.into_iter().flat_map(|(key, values)| {
        values.iter().map(|value| Pair {
            key: key.clone(),
            value: value.clone(),
            ..Pair::default()
        })
    });
    pairs.collect()
}
