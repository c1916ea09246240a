//! Behaves as ../proto says.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;
use ttrpc::Result;
use ttrpc::r#async::TtrpcContext;
use ttrpc::r#async::{Server, ServerStream, ServerStreamReceiver, ServerStreamSender};

use crate::Checked;
use crate::protos::bench::{Collected, CreateTaskRequest, Payload, ProduceRequest};
use crate::protos::bench_ttrpc::{BenchService, create_bench_service};

pub async fn serve(address: String, mut commands: UnboundedReceiver<String>) -> Checked {
    let server = Server::new().bind(&address).map_err(|error| error.to_string())?;
    let mut server = server.register_service(create_bench_service(Arc::new(Bench)));
    server.start().await.map_err(|error| error.to_string())?;
    println!(r#"{{"ready":true}}"#);
    while commands.recv().await.is_some() {
        println!("{{}}");
    }
    Ok(())
}

struct Bench;

#[async_trait]
impl BenchService for Bench {
    async fn echo(&self, _: &TtrpcContext, request: Payload) -> Result<Payload> {
        Ok(payload(request.payload))
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> Result<CreateTaskRequest> {
        Ok(request)
    }

    async fn produce(
        &self,
        _: &TtrpcContext,
        request: ProduceRequest,
        responses: ServerStreamSender<Payload>,
    ) -> Result<()> {
        let response = payload(vec![0; request.bytes as usize]);
        for _ in 0..request.count {
            responses.send(&response).await?;
        }
        Ok(())
    }

    async fn collect(
        &self,
        _: &TtrpcContext,
        mut requests: ServerStreamReceiver<Payload>,
    ) -> Result<Collected> {
        let mut count = 0;
        while requests.recv().await?.is_some() {
            count += 1;
        }
        Ok(Collected { count, ..Collected::default() })
    }

    async fn chat(
        &self,
        _: &TtrpcContext,
        mut stream: ServerStream<Payload, Payload>,
    ) -> Result<()> {
        while let Some(request) = stream.recv().await? {
            stream.send(&payload(request.payload)).await?;
        }
        Ok(())
    }
}

pub fn payload(payload: Vec<u8>) -> Payload {
    Payload { payload, ..Payload::default() }
}
