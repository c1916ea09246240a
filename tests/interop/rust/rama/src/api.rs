//! What the cases need of rama-ttrpc.

use std::future::pending;
use std::pin::{Pin, pin};

use rama_ttrpc::__codegen_prelude::RequestHandler as _;
pub use rama_ttrpc::protobuf::prost;
pub use rama_ttrpc::protobuf::prost::types::Any;
use rama_ttrpc::stream::stream_fn;
pub use rama_ttrpc::stream::{Stream, StreamExt};
pub use rama_ttrpc::{Client, ClientExt, Code, Result, Status};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::cases::{Peer, SERVICE};
use crate::protos::{EchoRequest, EchoResponse, NoFields, TestService as _};

/// A stream of what is there already.
pub fn stream_of<T: Send>(items: impl Iterator<Item = T> + Send) -> impl Stream<Item = T> + Send {
    stream_fn(move |mut stream| async move {
        for item in items {
            stream.yield_item(item).await;
        }
    })
}

pub struct Chat {
    sender: Option<UnboundedSender<EchoRequest>>,
    pub receiver: Pin<Box<dyn Stream<Item = Result<EchoResponse>> + Send>>,
}

impl Chat {
    pub fn start(client: &Client) -> Self {
        let client = client.clone();
        let (sender, mut receiver) = unbounded_channel();
        let requests = stream_fn(move |mut stream| async move {
            while let Some(request) = receiver.recv().await {
                stream.yield_item(request).await;
            }
        });
        // The stream borrows the client, so it takes it along.
        let receiver = stream_fn(move |mut stream| async move {
            let mut responses = pin!(client.chat(requests));
            while let Some(response) = responses.next().await {
                stream.yield_item(response).await;
            }
        });
        Self { sender: Some(sender), receiver: Box::pin(receiver) }
    }

    pub fn send(&self, request: EchoRequest) {
        let sender = self.sender.as_ref().expect("the stream is open");
        sender.send(request).expect("the stream is there");
    }

    pub fn close(&mut self) {
        self.sender = None;
    }
}

impl Peer {
    // rama has no other way to call what no proto file describes.
    pub async fn raw(
        &self,
        service: &'static str,
        method: &'static str,
        payload: EchoRequest,
    ) -> Result<NoFields> {
        self.client.handle_unary_request(service, method, payload).await
    }

    pub fn missing_stream(&self) -> impl Stream<Item = Result<NoFields>> {
        self.client.handle_duplex_streaming_request::<EchoRequest, NoFields>(
            SERVICE,
            "Missing",
            stream_fn(|_| pending()),
        )
    }
}
