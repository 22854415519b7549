//! The way to the supervisor: what is reported, and what it is asked.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    channel::{Handed, LONGEST_STATE, Report, Sender},
    id::{AppName, ArtifactPath},
    loader::{Snapshot, StopReport},
    reload::Chronicle,
    state::Keeper,
};

/// Where reports and questions go. A clone is the same way.
#[derive(Clone, Debug)]
pub(super) struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reports: mpsc::UnboundedSender<Report>,
    names: HashMap<ArtifactPath, AppName>,
    questions: Mutex<Questions>,
    /// Apps that nothing holds any more.
    drained: Mutex<HashSet<AppName>>,
}

#[derive(Debug, Default)]
struct Questions {
    next: u64,
    open: HashMap<u64, oneshot::Sender<Handed>>,
    /// Nobody answers any more.
    over: bool,
}

/// Who writes the reports to the channel.
pub(super) struct Writer {
    task: JoinHandle<()>,
    finish: CancellationToken,
}

impl Upstream {
    /// The way over that channel, for those apps.
    pub(super) fn new(
        mut sender: Sender<Report>,
        apps: &[(AppName, ArtifactPath)],
    ) -> (Self, Writer) {
        let (reports, mut written) = mpsc::unbounded_channel();
        let finish = CancellationToken::new();
        let end = finish.clone();
        let task = tokio::spawn(async move {
            let mut finishing = false;
            loop {
                let report = tokio::select! {
                    () = end.cancelled(), if !finishing => {
                        finishing = true;
                        written.close();
                        continue;
                    }
                    report = written.recv() => report,
                };
                let Some(report) = report else { return };
                // The supervisor's end is noticed where orders come.
                if sender.send(&report).await.is_err() {
                    return;
                }
            }
        });
        let names = apps.iter().map(|(name, path)| (path.clone(), name.clone()));
        let upstream = Self(Arc::new(Inner {
            reports,
            names: names.collect(),
            questions: Mutex::default(),
            drained: Mutex::default(),
        }));
        (upstream, Writer { task, finish })
    }

    pub(super) fn report(&self, report: Report) {
        // Who ends hears of the supervisor's end elsewhere.
        let _ = self.0.reports.send(report);
    }

    /// The supervisor has answered a question.
    pub(super) fn answer(&self, call: u64, state: Handed) {
        if let Some(asked) = self.questions().open.remove(&call) {
            let _ = asked.send(state);
        }
    }

    /// Who waits for an answer gets none: the worker ends.
    pub(super) fn give_up(&self) {
        let mut questions = self.questions();
        questions.over = true;
        questions.open.clear();
    }

    fn ask(&self, app: &AppName) -> Option<oneshot::Receiver<Handed>> {
        let mut questions = self.questions();
        if questions.over {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        questions.next += 1;
        let call = questions.next;
        questions.open.insert(call, answer);
        drop(questions);
        let app = app.to_string();
        self.report(Report::StateWanted { call, app });
        Some(answered)
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        let questions = self.0.questions.lock();
        questions.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for Upstream {
    fn get(&self, app: &ArtifactPath) -> Handed {
        let ends = || Err("the worker ends".to_owned());
        let name = self.0.names.get(app);
        match name.and_then(|name| self.ask(name)) {
            Some(answered) => answered.blocking_recv().unwrap_or_else(|_| ends()),
            None => ends(),
        }
    }

    fn put(&self, app: &ArtifactPath, state: Snapshot) {
        let Some(name) = self.0.names.get(app) else {
            return;
        };
        match fitting(Some(state)) {
            Ok(Some(state)) => {
                let app = name.to_string();
                self.report(Report::StateLeft { app, state });
            }
            Ok(None) => {}
            Err(reason) => {
                let app = name.as_str();
                tracing::error!(event = "state-not-saved", app, reason, "{reason}");
            }
        }
    }
}

impl Chronicle for Upstream {
    fn drained(&self, app: &AppName) {
        let mut drained = self
            .0
            .drained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if drained.insert(app.clone()) && drained.len() == self.0.names.len() {
            self.report(Report::Drained);
        }
    }

    fn stopped(&self, app: &AppName, report: StopReport) {
        let app = app.to_string();
        self.report(Report::AppStopped { app, report });
    }
}

impl Writer {
    /// Waits until all that was reported is written.
    pub(super) async fn finish(self) {
        self.finish.cancel();
        // It does not panic.
        let _ = self.task.await;
    }
}

/// What a message has room for.
pub(super) fn fitting(state: Option<Snapshot>) -> Handed {
    match &state {
        Some(Snapshot { bytes, .. }) if bytes.len() > LONGEST_STATE => Err(format!(
            "its state has {} bytes, and may have {LONGEST_STATE} in a process group",
            bytes.len()
        )),
        _ => Ok(state),
    }
}
