//! Behaves as proto/ttrpc/test/v1/test.proto says, as far as that is unary.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use protobuf::EnumOrUnknown;
use ttrpc::proto::Any;
use ttrpc::{Error, MethodHandler, Result, Status, TtrpcContext};

use crate::protos::empty::Empty;
use crate::protos::test::{EchoRequest, EchoResponse, FailRequest};
use crate::protos::test::{Pair, ProduceRequest, SleepRequest, SleepResponse};
use crate::protos::test_ttrpc::{TestService, create_test_service};

pub fn create() -> HashMap<String, Box<dyn MethodHandler + Send + Sync>> {
    create_test_service(Arc::new(Tests))
}

struct Tests;

impl TestService for Tests {
    fn echo(&self, context: &TtrpcContext, request: EchoRequest) -> Result<EchoResponse> {
        assert!(request.text != "panic", "asked to panic");
        Ok(EchoResponse {
            payload: request.payload,
            text: request.text,
            metadata: metadata(context),
            ..EchoResponse::default()
        })
    }

    fn fail(&self, _: &TtrpcContext, request: FailRequest) -> Result<Empty> {
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

    fn sleep(&self, context: &TtrpcContext, request: SleepRequest) -> Result<SleepResponse> {
        let Ok(milliseconds) = u64::try_from(request.milliseconds) else {
            return Err(Error::Others(format!("cannot sleep for {} ms", request.milliseconds)));
        };
        sleep(Duration::from_millis(milliseconds));
        Ok(SleepResponse {
            deadline_milliseconds: context.timeout_nano / 1_000_000,
            ..SleepResponse::default()
        })
    }

    fn nothing(&self, _: &TtrpcContext, request: Empty) -> Result<Empty> {
        Ok(request)
    }

    fn produce(&self, _: &TtrpcContext, request: ProduceRequest) -> Result<EchoRequest> {
        Ok(EchoRequest { payload: vec![0; request.length as usize], ..EchoRequest::default() })
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
