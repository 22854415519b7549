//! The benchmark's app served by axum itself: `native THREADS [SOCKET]` prints its address and serves,
//! on a Unix socket if one is named.

#[path = "../../plugins/payload/src/router.rs"]
mod router;

use std::io;

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let threads = args
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1);
    let socket = args.next();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Served from a worker, as `#[tokio::main]` and a spawned server do: the accept loop and
        // the connections share the same threads.
        tokio::spawn(async {
            if let Some(socket) = socket {
                let listener = tokio::net::UnixListener::bind(&socket)?;
                println!("{socket}");
                return axum::serve(listener, router::router()).await;
            }
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?);
            axum::serve(listener, router::router()).await
        })
        .await?
    })
}
