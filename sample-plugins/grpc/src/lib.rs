//! A gRPC service: tonic without its transport, since the host speaks HTTP/2.

#![forbid(unsafe_code)]

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use replug_plugin::{Setup, ShutdownToken, export_app};
use tonic::{Request, Response, Status};

use greeter::{
    GreetManyRequest, GreetRequest, Greeting,
    greeter_server::{Greeter, GreeterServer},
};

#[allow(
    elided_lifetimes_in_paths,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    reason = "generated"
)]
mod greeter {
    tonic::include_proto!("greeter.v1");
}

export_app!(app);

/// The generated server is a service like any other. Several of them fit into one
/// `tonic::service::Routes` (tonic's feature `router`).
fn app(setup: &mut Setup) -> GreeterServer<Polite> {
    GreeterServer::new(Polite {
        shutdown: setup.shutdown(),
    })
}

struct Polite {
    shutdown: ShutdownToken,
}

#[tonic::async_trait]
impl Greeter for Polite {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<Greeting>, Status> {
        let GreetRequest { name } = request.into_inner();
        if name.is_empty() {
            return Err(Status::invalid_argument("who is to be greeted?"));
        }
        Ok(Response::new(greeting(&name)))
    }

    type GreetManyStream = BoxStream<'static, Result<Greeting, Status>>;

    async fn greet_many(
        &self,
        request: Request<GreetManyRequest>,
    ) -> Result<Response<Self::GreetManyStream>, Status> {
        let GreetManyRequest {
            name,
            count,
            interval_ms,
        } = request.into_inner();
        let pause = Duration::from_millis(interval_ms.into());
        let start = Some((0, self.shutdown.clone()));
        let greetings = stream::unfold(start, move |state| {
            let greeting = greeting(&name);
            async move {
                let (number, mut shutdown) = state.filter(|(number, _)| *number < count)?;
                let pause = if number == 0 { Duration::ZERO } else { pause };
                tokio::select! {
                    biased;
                    // Whoever waits for more sees a status, not a connection that breaks.
                    reason = shutdown.wait() => {
                        let status = Status::unavailable(format!("{reason}; try again"));
                        Some((Err(status), None))
                    }
                    () = tokio::time::sleep(pause) => {
                        Some((Ok(greeting), Some((number + 1, shutdown))))
                    }
                }
            }
        });
        Ok(Response::new(greetings.boxed()))
    }
}

fn greeting(name: &str) -> Greeting {
    Greeting {
        text: format!("Hello, {name}!"),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::{greeter::greeter_client::GreeterClient, *};

    /// Calls the service itself: no host and no transport between.
    fn client(setup: &mut Setup) -> GreeterClient<GreeterServer<Polite>> {
        GreeterClient::new(app(setup))
    }

    fn many(count: u32) -> GreetManyRequest {
        GreetManyRequest {
            name: "Ann".to_owned(),
            count,
            interval_ms: 1,
        }
    }

    #[tokio::test]
    async fn whoever_has_a_name_is_greeted() {
        let mut client = client(&mut Setup::detached("grpc"));
        let name = "Ann".to_owned();
        let greeting = client.greet(GreetRequest { name }).await.unwrap();
        assert_eq!(greeting.into_inner().text, "Hello, Ann!");
        let status = client.greet(GreetRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn greetings_stream_until_they_are_all_made() {
        let mut setup = Setup::detached("grpc");
        let stream = client(&mut setup).greet_many(many(3)).await.unwrap();
        let greetings: Vec<_> = stream.into_inner().collect().await;
        assert_eq!(greetings.len(), 3);
        assert!(greetings.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn draining_ends_a_stream_with_a_status() {
        let mut setup = Setup::detached("grpc");
        let stream = client(&mut setup).greet_many(many(u32::MAX)).await.unwrap();
        let mut stream = stream.into_inner();
        assert_eq!(stream.message().await.unwrap().unwrap().text, "Hello, Ann!");
        // Without a host, draining begins when the setup is dropped.
        drop(setup);
        let last = stream
            .filter_map(|item| async { item.err() })
            .boxed()
            .next()
            .await;
        assert_eq!(last.unwrap().code(), Code::Unavailable);
    }
}
