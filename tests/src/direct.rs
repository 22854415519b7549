//! Groups that listen themselves.

use crate::{
    artifacts,
    host::{Host, Site},
};

/// All of the site's probe is served by so many workers, which take connections themselves.
pub async fn direct(site: &Site, processes: &str, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let mut all = vec!["--processes", processes, "--direct"];
    all.extend(args);
    site.serve_library("probe", &all).await
}
