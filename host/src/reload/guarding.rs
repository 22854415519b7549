//! Watching a new generation, and rolling it back.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Reloader,
    cause::Cause,
    command::Reply,
    event::Event,
    guard::{Samples, Window, is_worse},
    load::jittered_time,
    slot::{Asker, answer},
};
use crate::id::{ArtifactPath, Digest, GenerationId};

/// Looks during a window; and how far they are apart.
const LOOKS: u32 = 20;
const CLOSEST: Duration = Duration::from_millis(20);
const WIDEST: Duration = Duration::from_secs(1);

/// A new generation that is being watched.
#[derive(Debug)]
pub(super) struct Guarded {
    generation: GenerationId,
    until: Instant,
    /// What the one before did in its last window.
    before: Window,
    /// What is loaded again if it does worse.
    back_to: Digest,
    /// Why it is being rolled back.
    verdict: Option<String>,
    askers: Vec<Asker>,
}

impl Guarded {
    /// Why it is being rolled back.
    pub(super) fn verdict(&self) -> Option<&str> {
        self.verdict.as_deref()
    }

    /// How much of the window is left.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Guards, to the actor.
impl Reloader {
    /// What the generation that serves answered in its last window.
    pub(super) fn earlier_window(&self, path: &ArtifactPath) -> Window {
        let Some(slot) = self.slots.get(path) else {
            return Window::default();
        };
        let guard = slot.options(&self.config).guard;
        slot.live.as_ref().map_or_else(Window::default, |live| {
            let counts = live.lease.tally.counts();
            slot.samples.window(Instant::now(), counts, guard)
        })
    }

    /// A generation has begun to serve. `guarded`: what to go back to if it does worse than
    /// `before`.
    pub(super) fn begin_watch(
        &mut self,
        path: &ArtifactPath,
        generation: GenerationId,
        guarded: Option<Digest>,
        before: Window,
    ) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let options = slot.options(&self.config);
        let (guard, max_age) = (options.guard, options.max_age);
        let Some(app) = slot.name().map(ToString::to_string) else {
            return;
        };
        slot.samples = Samples::default();
        let serving = Reply::Serving {
            app: app.clone(),
            generation: generation.get(),
        };
        let last = slot.guarded.take();
        let last_verdict = last.as_ref().and_then(|last| last.verdict.clone());
        let mut back_to = guarded.map(|digest| (digest, before));
        if let Some(last) = last {
            // One that was not proven yet is no measure for the next.
            if last.verdict.is_none() && back_to.is_some() {
                back_to = Some((last.back_to, last.before));
            }
            let reply = match last_verdict {
                Some(reason) => Reply::RolledBack {
                    app,
                    generation: generation.get(),
                    reason,
                },
                None => serving.clone(),
            };
            answer(last.askers, &reply);
        }
        let kept = |(digest, before)| slot.history.file(&digest).map(|_| (digest, before));
        let back_to = back_to.filter(|_| !guard.is_zero()).and_then(kept);
        if let Some((back_to, before)) = back_to {
            let (askers, others): (Vec<_>, Vec<_>) =
                slot.waiting.drain(..).partition(|asker| asker.guard);
            answer(others, &serving);
            slot.guarded = Some(Guarded {
                generation,
                until: Instant::now() + guard,
                before,
                back_to,
                verdict: None,
                askers,
            });
        } else {
            slot.answer(&serving);
        }
        if !guard.is_zero() {
            let next = if slot.guarded.is_some() {
                (guard / LOOKS).clamp(CLOSEST, WIDEST)
            } else {
                guard / 2
            };
            self.look_in(path, generation, next);
        }
        if !max_age.is_zero() {
            let due = Instant::now() + jittered_time(max_age);
            self.tell_later(
                due,
                Event::Worn {
                    path: path.clone(),
                    generation,
                    cause: Cause::Age,
                },
            );
        }
    }

    /// It is time to look at what a generation has answered.
    pub(super) fn look(&mut self, path: &ArtifactPath, generation: GenerationId) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let guard = slot.options(&self.config).guard;
        if guard.is_zero() {
            // It was set so meanwhile.
            let reply = slot.name().map(|app| Reply::Serving {
                app: app.to_string(),
                generation: generation.get(),
            });
            return self.end_guard(path, reply);
        }
        let counts = match &slot.live {
            Some(live) if live.lease.id == generation => live.lease.tally.counts(),
            // While it is paused, another load decides.
            _ if slot.work.is_idle() => return,
            _ => return self.look_in(path, generation, (guard / LOOKS).clamp(CLOSEST, WIDEST)),
        };
        let now = Instant::now();
        slot.samples.note(now, counts, guard);
        let Some(guarded) = &mut slot.guarded else {
            return self.look_in(path, generation, guard / 2);
        };
        let over = now >= guarded.until;
        if guarded.verdict.is_none() && slot.work.is_idle() {
            let after = Window { counts };
            if is_worse(guarded.before, after, over) {
                let why = format!(
                    "{} of {} requests failed, {} panicked; before: {} of {}, {}",
                    counts.failures,
                    counts.requests,
                    counts.panics,
                    guarded.before.counts.failures,
                    guarded.before.counts.requests,
                    guarded.before.counts.panics,
                );
                guarded.verdict = Some(why.clone());
                let back_to = guarded.back_to;
                return self.roll_back(path, generation, back_to, &why);
            }
            if over {
                let app = slot.name().map(ToString::to_string).unwrap_or_default();
                let generation = generation.get();
                tracing::info!(
                    event = "guarded",
                    app,
                    generation,
                    requests = counts.requests,
                    failures = counts.failures,
                    "watched for {guard:?}: it does no worse than the one before",
                );
                self.end_guard(path, Some(Reply::Serving { app, generation }));
            }
        }
        self.look_in(path, generation, (guard / LOOKS).clamp(CLOSEST, WIDEST));
    }

    fn roll_back(&mut self, path: &ArtifactPath, generation: GenerationId, to: Digest, why: &str) {
        let app = self.slots.get(path).and_then(|slot| slot.name());
        tracing::error!(
            event = "rolling-back",
            app = app.map(crate::id::AppName::as_str),
            generation = generation.get(),
            path = %path,
            digest = %to,
            reason = why,
            remedy = "mend it; this artifact is not taken again until it changes, or someone asks",
            "it does worse than the one before, which is loaded again",
        );
        self.begin_load(path, Cause::Rollback(to));
        self.look_in(path, generation, WIDEST);
    }

    /// A generation is not watched any more; who waits for that gets `reply`, or hears that it
    /// serves no more.
    pub(super) fn end_guard(&mut self, path: &ArtifactPath, reply: Option<Reply>) {
        let Some(guarded) = self
            .slots
            .get_mut(path)
            .and_then(|slot| slot.guarded.take())
        else {
            return;
        };
        let reply = reply.unwrap_or_else(|| Reply::Refused {
            reason: format!(
                "generation {} went before its window was over",
                guarded.generation
            ),
            remedy: "see the host's log".to_owned(),
        });
        answer(guarded.askers, &reply);
    }

    fn look_in(&self, path: &ArtifactPath, generation: GenerationId, time: Duration) {
        let (path, sender) = (path.clone(), self.sender.clone());
        let live = self.slots.get(&path).and_then(|slot| slot.live.as_ref());
        let crew = live.and_then(|live| Some(Arc::clone(&live.lease.seat()?.crew)));
        tokio::spawn(async move {
            sleep(time).await;
            // What its workers have answered themselves.
            if let Some(counted) = crew.and_then(|crew| crew.count()) {
                counted.await;
            }
            let _ = sender.send(Event::Look { path, generation });
        });
    }

    pub(super) fn tell_later(&self, when: Instant, event: Event) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            sleep_until(when).await;
            let _ = sender.send(event);
        });
    }
}
