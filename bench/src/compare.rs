//! Servers of the same app beside each other, in alternating rounds.

use crate::{
    Args,
    load::{Tool, Url},
    percentile,
};

/// A server that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server<'a> {
    pub(crate) name: &'static str,
    pub(crate) address: &'a str,
}

/// The requests per second of each server on that path, round by round, and the ratios of those
/// whose places are paired: the first to the second.
pub(crate) async fn compare(
    tool: Tool,
    args: &Args,
    path: &str,
    servers: &[Server<'_>],
    pairs: &[(usize, usize)],
) {
    let measure = async |server: &Server<'_>, seconds| {
        let address = server.address;
        tool.run(&Url { address, path }, args.connections, seconds)
            .await
    };
    let of =
        |&(one, other): &(usize, usize)| format!("{}/{}", servers[one].name, servers[other].name);
    print!("\n{path:8} round");
    for server in servers {
        print!(" {:>14}", format!("{} req/s", server.name));
    }
    for pair in pairs {
        print!(" {:>15}", of(pair));
    }
    println!();
    for server in servers {
        measure(server, 1).await;
    }
    let mut ratios = vec![Vec::new(); pairs.len()];
    for round in 0..args.rounds {
        // Who is first alternates: what the machine does meanwhile favours nobody.
        let mut rates = vec![0.0; servers.len()];
        for turn in 0..servers.len() {
            let place = (round + turn) % servers.len();
            rates[place] = measure(&servers[place], args.seconds).await;
        }
        print!("{:14}", round + 1);
        for rate in &rates {
            print!(" {rate:14.0}");
        }
        for (&(one, other), ratios) in pairs.iter().zip(&mut ratios) {
            let ratio = rates[one] / rates[other];
            print!(" {ratio:15.3}");
            ratios.push(ratio);
        }
        println!();
    }
    for (pair, ratios) in pairs.iter().zip(&ratios) {
        println!("{path:8} median {} {:.3}", of(pair), percentile(ratios, 50));
    }
}
