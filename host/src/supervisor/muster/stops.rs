//! What workers did with apps that had been given up before they ended.

use std::collections::HashMap;

use crate::{generation::Stops, supervisor::crew::Plan};

/// By the apps' names.
pub(super) fn tell(plan: &Plan, stops: &HashMap<String, Stops>) {
    for (app, Stops { workers, all }) in stops {
        tracing::info!(
            event = "stopped-in-workers",
            group = plan.group.as_str(),
            app,
            workers,
            hooks_done = all.hooks_done,
            hooks_failed = all.hooks_failed,
            panicked = all.panicked,
            "{app} stopped in {workers} workers, which have ended",
        );
    }
}
