//! The run: deploys, waits for what the host says of it, and takes samples.

use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
};

use replug_tests::{Host, deadline, deploy::Artifact, host::Site};
use tokio::time::timeout;

use super::{Plan, Sample, Tally, generations::Generations, load::Load, sampler::Sampler};
use crate::servers;

/// So many old generations may still be on their way out when the next one is deployed: a load,
/// not a flood.
const MOST_PENDING: u64 = 4;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Record {
    /// In their order.
    pub samples: Vec<Sample>,
    /// What clients have seen.
    pub tally: Tally,
    /// What the host has said.
    pub generations: Generations,
    /// How the host ended.
    pub exit: ExitStatus,
    /// What it said besides its log: panics.
    pub noise: Vec<String>,
    /// Why the run ended early.
    pub broken_off: Option<String>,
}

/// Runs to the end of the plan, or as far as the host goes; `progress` sees each sample.
///
/// # Panics
/// When the host does not start.
pub async fn run(
    plan: &Plan,
    replug: &Path,
    library: &Artifact,
    mut progress: impl FnMut(&Sample),
) -> Record {
    let site = Site::new();
    let mut soak = Soak::start(plan, replug, library, &site).await;
    let ended = soak.reload_all(&mut progress).await;
    soak.end(ended.err()).await
}

struct Soak<'a> {
    plan: &'a Plan,
    library: &'a Artifact,
    /// Where it is deployed to.
    path: PathBuf,
    site: &'a Site,
    host: Host,
    load: Load,
    sampler: Sampler,
    generations: Generations,
    samples: Vec<Sample>,
}

impl<'a> Soak<'a> {
    async fn start(plan: &'a Plan, replug: &Path, library: &'a Artifact, site: &'a Site) -> Self {
        let path = site.install("soaked", &plan.app.version(library, 1));
        let args = plan.app.settings(site.path());
        let host = servers::serve(replug, &path, plan.threads, site, &args).await;
        Self {
            plan,
            library,
            path,
            site,
            load: Load::start(&host, plan.app, plan.connections)
                .await
                .expect("a host that listens"),
            sampler: Sampler::new(&host, replug, site),
            host,
            generations: Generations::default(),
            samples: Vec::new(),
        }
    }

    async fn reload_all(&mut self, progress: &mut impl FnMut(&Sample)) -> Result<(), String> {
        self.until("serving", |generations| generations.serving == 1)
            .await?;
        for reload in 0..=self.plan.reloads {
            if reload > 0 {
                self.reload().await?;
            }
            if self.plan.samples_after(reload) {
                let sample = self.sample(reload).await?;
                progress(&sample);
                self.samples.push(sample);
            }
        }
        Ok(())
    }

    /// Puts the next version in place, or changes what it tracks, and waits until that serves.
    async fn reload(&mut self) -> Result<(), String> {
        self.until("gone", |generations| generations.pending() < MOST_PENDING)
            .await?;
        let next = self.generations.serving + 1;
        let app = self.plan.app;
        app.change(self.library, next, &self.path, self.site.path());
        self.until("serving", |generations| generations.serving == next)
            .await
    }

    /// With nobody asking, and one generation that nobody has asked yet.
    async fn sample(&mut self, reloads: u64) -> Result<Sample, String> {
        let pause = self.load.pause().await;
        self.sampler.pause(self.load.answers());
        self.reload().await?;
        self.until("gone", |generations| generations.pending() == 0)
            .await?;
        let generation = self.generations.serving;
        let sample = self.sampler.look(reloads, generation).await;
        drop(pause);
        self.sampler.resume();
        sample.ok_or_else(|| "the host is gone, or does not answer `replug status`".to_owned())
    }

    /// Reads the log until `reached`.
    async fn until(
        &mut self,
        what: &str,
        reached: impl Fn(&Generations) -> bool,
    ) -> Result<(), String> {
        while !reached(&self.generations) {
            let newest = self.generations.serving;
            let events = timeout(deadline(), self.host.log.take()).await;
            let events = events.map_err(|_| {
                format!(
                    "nothing is {what} within {:?} of generation {newest}",
                    deadline()
                )
            })?;
            if events.is_empty() {
                return Err(format!("the host has ended at generation {newest}"));
            }
            for event in &events {
                self.generations.note(event)?;
            }
        }
        Ok(())
    }

    /// Ends load and host, and hears what they have to say.
    async fn end(mut self, mut broken_off: Option<String>) -> Record {
        let tally = self.load.end().await;
        let exit = self.host.terminate().await;
        for event in self.host.log.take().await {
            if let Err(reason) = self.generations.note(&event) {
                broken_off.get_or_insert(reason);
            }
        }
        Record {
            samples: self.samples,
            tally,
            generations: self.generations,
            exit,
            noise: self.host.log.other_lines(),
            broken_off,
        }
    }
}
