//! The client: what it is asked to do, and how it calls.

use std::sync::Arc;

use tokio::spawn;
use tokio::sync::mpsc::UnboundedReceiver;
use ttrpc::Error;
use ttrpc::r#async::{Client, ClientStream};
use ttrpc::context::Context;

use crate::protos::bench::{Payload, ProduceRequest};
use crate::protos::bench_ttrpc::BenchServiceClient;
use crate::server::payload;
use crate::{Checked, Plan, load};

/// One connection.
#[derive(Clone)]
pub struct Connection {
    pub plan: Arc<Plan>,
    service: BenchServiceClient,
    payload: Payload,
}

pub async fn call(address: String, plan: Plan, mut commands: UnboundedReceiver<String>) -> Checked {
    let plan = Arc::new(plan);
    let mut connections = Vec::new();
    connect(&address, &plan, &mut connections, plan.connections).await?;
    let mut open = Vec::new();
    println!(r#"{{"ready":true}}"#);
    while let Some(line) = commands.recv().await {
        let (verb, count) = line.split_once(' ').unwrap_or((&line, "0"));
        let count: usize = count.parse().map_err(|_| format!("{count} is no number"))?;
        match verb {
            "load" => println!("{}", load::measured(&connections).await?),
            "calls" => println!("{}", load::counted(&connections, count).await?),
            "connect" => {
                connect(&address, &plan, &mut connections, count).await?;
                println!("{{}}");
            }
            "streams" => {
                for _ in 0..count {
                    open.push(checked(connections[0].service.chat(Context::default()).await)?);
                }
                connections[0].call(|_| {}).await?;
                println!("{{}}");
            }
            "touch" => {
                for connection in &connections {
                    connection.call(|_| {}).await?;
                }
                println!("{{}}");
            }
            _ => return Err(format!("there is no command {line:?}")),
        }
    }
    Ok(())
}

async fn connect(
    address: &str,
    plan: &Arc<Plan>,
    connections: &mut Vec<Connection>,
    count: usize,
) -> Checked {
    for _ in 0..count {
        let client = checked(Client::connect(address).await)?;
        connections.push(Connection {
            plan: plan.clone(),
            service: BenchServiceClient::new(client),
            payload: payload(vec![0; plan.bytes]),
        });
    }
    Ok(())
}

impl Connection {
    /// Makes a unary call, or runs a stream, and says how many messages were completed, and when.
    pub async fn call(&self, completed: impl Fn(usize)) -> Checked {
        match self.plan.kind.as_str() {
            "unary" => {
                self.unary().await?;
                completed(1);
                Ok(())
            }
            "server_stream" => {
                let request = ProduceRequest {
                    count: self.plan.per_stream as u32,
                    bytes: self.plan.bytes as u32,
                    ..ProduceRequest::default()
                };
                let mut stream = checked(self.service.produce(Context::default(), &request).await)?;
                while checked(stream.recv().await)?.is_some() {
                    completed(1);
                }
                Ok(())
            }
            "client_stream" => {
                let mut stream = checked(self.service.collect(Context::default()).await)?;
                for _ in 0..self.plan.per_stream {
                    checked(stream.send(&self.payload).await)?;
                }
                let response = checked(stream.close_and_recv().await)?;
                completed(response.count as usize);
                Ok(())
            }
            "bidi_stream" => {
                let stream = checked(self.service.chat(Context::default()).await)?;
                self.chat(stream, completed).await
            }
            kind => Err(format!("there is no kind {kind:?}")),
        }
    }

    async fn unary(&self) -> Checked {
        if self.plan.realistic {
            let message = &self.plan.message;
            let response = checked(self.service.create(Context::default(), message).await)?;
            return same(&response.id, &message.id);
        }
        let response = checked(self.service.echo(Context::default(), &self.payload).await)?;
        same(&response.payload.len(), &self.plan.bytes)
    }

    async fn chat(
        &self,
        stream: ClientStream<Payload, Payload>,
        completed: impl Fn(usize),
    ) -> Checked {
        let (sender, mut receiver) = stream.split();
        let (message, count) = (self.payload.clone(), self.plan.per_stream);
        let sending = spawn(async move {
            for _ in 0..count {
                sender.send(&message).await?;
            }
            sender.close_send().await
        });
        loop {
            match receiver.recv().await {
                Ok(_) => completed(1),
                Err(Error::Eof) => break,
                Err(error) => return Err(format!("a stream failed: {error:?}")),
            }
        }
        checked(sending.await.map_err(|error| error.to_string())?)
    }
}

fn checked<T>(result: ttrpc::Result<T>) -> Checked<T> {
    result.map_err(|error| format!("a call failed: {error:?}"))
}

fn same<T: PartialEq + std::fmt::Debug>(received: &T, sent: &T) -> Checked {
    if received == sent { Ok(()) } else { Err(format!("{received:?} came back, not {sent:?}")) }
}
