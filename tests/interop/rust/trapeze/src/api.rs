//! What the cases need of trapeze.

use std::pin::Pin;

use futures::channel::mpsc::{UnboundedSender, unbounded};
pub use futures::stream::iter as stream_of;
use futures::stream::pending;
pub use futures::{Stream, StreamExt};
pub use prost;
pub use prost_types::Any;
use trapeze::__codegen_prelude::RequestHandler as _;
pub use trapeze::{Client, ClientExt, Code, Result, Status};

use crate::cases::{Peer, SERVICE};
use crate::protos::{EchoRequest, EchoResponse, TestService as _};

pub struct Chat {
    sender: UnboundedSender<EchoRequest>,
    pub receiver: Pin<Box<dyn Stream<Item = Result<EchoResponse>> + Send>>,
}

impl Chat {
    pub fn start(client: &Client) -> Self {
        let client = client.clone();
        let (sender, requests) = unbounded();
        // The stream borrows the client, so it takes it along.
        let receiver = trapeze::stream::stream! {
            for await response in client.chat(requests) {
                yield response;
            }
        };
        Self { sender, receiver: Box::pin(receiver) }
    }

    pub fn send(&self, request: EchoRequest) {
        self.sender.unbounded_send(request).expect("the stream is there");
    }

    pub fn close(&mut self) {
        self.sender.close_channel();
    }
}

impl Peer {
    // trapeze has no other way to call what no proto file describes.
    pub async fn raw(&self, service: &str, method: &str, payload: EchoRequest) -> Result<()> {
        self.client.handle_unary_request(service.into(), method.into(), payload).await
    }

    pub fn missing_stream(&self) -> impl Stream<Item = Result<()>> {
        self.client.handle_duplex_streaming_request::<EchoRequest, ()>(
            SERVICE.into(),
            "Missing".into(),
            pending(),
        )
    }
}
