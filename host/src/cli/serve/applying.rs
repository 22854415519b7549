//! Having a changed configuration in force while the host serves.

use std::sync::Arc;

use super::{
    recipe::{Recipe, Wrong},
    running::Running,
    start::no_app_names,
    wanted::targets,
};
use crate::{
    config::{Config, Difference, ListenAddress},
    reload::{Applied, Change, How, Order},
    server::{BindError, Heirlooms, Listeners},
};

impl From<Wrong> for Applied {
    fn from(Wrong { reason, remedy }: Wrong) -> Self {
        Self::Refused {
            app: None,
            reason,
            remedy,
        }
    }
}

impl Running {
    /// Reads the configuration again, and has it in force, all of it or nothing. Where this is not
    /// awaited to its end, the host must end.
    pub(super) async fn apply(&mut self, dry_run: bool) -> Applied {
        let recipe = Arc::clone(&self.recipe);
        let read = tokio::task::spawn_blocking(move || read(&recipe)).await;
        let read = read.unwrap_or_else(|error| {
            Err(Wrong {
                reason: format!("it cannot be read: {error}"),
                remedy: "see the log".to_owned(),
            })
        });
        let applied = match read {
            Ok(config) => self.have(Arc::new(config), dry_run).await,
            Err(wrong) => wrong.into(),
        };
        tell(&applied);
        applied
    }

    async fn have(&mut self, config: Arc<Config>, dry_run: bool) -> Applied {
        let targets = match targets(&config) {
            Ok(targets) => targets,
            Err((reason, remedy)) => return Wrong { reason, remedy }.into(),
        };
        let Difference {
            restart,
            listen,
            unlisten,
            ..
        } = Difference::between(&self.config, &config);
        let mut changes = listening(&listen, How::Added);
        changes.extend(listening(&unlisten, How::Removed));
        let is_real = !dry_run && restart.is_empty();
        // They are bound by now, so that nothing of that can fail later.
        let bound = if is_real { &listen[..] } else { &[] };
        let (listeners, heirlooms) = match self.bind(bound) {
            Ok(bound) => bound,
            Err(wrong) => return wrong.into(),
        };
        let addresses = listeners.addresses();
        let waiting = match listeners.wait_for() {
            Ok(waiting) => waiting,
            Err(error) => {
                return Wrong {
                    reason: format!("cannot listen: {error}"),
                    remedy: "raise the limit of open files (ulimit -n)".to_owned(),
                }
                .into();
            }
        };
        let (acceptors, leave) = (self.server.acceptors(), unlisten.clone());
        let order = Order {
            config: Arc::clone(&config),
            targets,
            dry_run,
            changes,
            switch: Box::new(move || {
                acceptors.begin(waiting);
                acceptors.leave(&leave);
            }),
        };
        let applied = self.handle.apply(order).await;
        if let Applied::Applied { .. } = applied {
            self.heirlooms.forget(&unlisten);
            self.heirlooms.add(heirlooms);
            self.config = config;
            for address in addresses {
                tracing::info!(event = "listening", address, "listening on {address}");
            }
            no_app_names(&self.config);
        }
        applied
    }

    fn bind(&self, addresses: &[ListenAddress]) -> Result<(Listeners, Heirlooms), Wrong> {
        let listeners = Listeners::bind(addresses, Vec::new()).map_err(|error| Wrong {
            reason: error.to_string(),
            remedy: match self.stands_in_the_way(&error) {
                Some(own) => format!(
                    "the host itself listens on {own}, and the system gives that port once; \
                     `replug restart` takes the new address in its place"
                ),
                None => error.remedy().to_owned(),
            },
        })?;
        let heirlooms = listeners.heirlooms().map_err(|error| Wrong {
            reason: format!("cannot keep the sockets: {error}"),
            remedy: "raise the limit of open files (ulimit -n)".to_owned(),
        })?;
        Ok((listeners, heirlooms))
    }

    /// A listener of this host's with the port that was not to be had.
    fn stands_in_the_way(&self, error: &BindError) -> Option<&ListenAddress> {
        if error.source.kind() != std::io::ErrorKind::AddrInUse {
            return None;
        }
        let wanted = port(&error.address)?;
        self.config
            .listen
            .iter()
            .find(|own| port(own) == Some(wanted))
    }
}

/// The configuration, if the host has the rights that it takes.
fn read(recipe: &Recipe) -> Result<Config, Wrong> {
    let config = recipe.read_again()?;
    for (name, group) in &config.groups {
        group.permitted().map_err(|error| Wrong {
            reason: format!("group `{name}`: {error}"),
            remedy: error.remedy().to_owned(),
        })?;
    }
    Ok(config)
}

fn port(address: &ListenAddress) -> Option<u16> {
    match address {
        ListenAddress::Tcp(address) => address.rsplit_once(':')?.1.parse().ok(),
        ListenAddress::Unix(_) => None,
    }
}

fn listening(addresses: &[ListenAddress], how: How) -> Vec<Change> {
    let all = addresses.iter();
    all.map(|address| Change::new("listen", address, how, &[]))
        .collect()
}

fn tell(applied: &Applied) {
    match applied {
        Applied::Applied { changes } => {
            let count = |how| changes.iter().filter(|it| it.how == how).count();
            tracing::info!(
                event = "applied",
                added = count(How::Added),
                removed = count(How::Removed),
                changed = count(How::Changed),
                set = count(How::Set),
                changes = list(changes),
                "a changed configuration is in force",
            );
        }
        Applied::Planned { changes } => {
            tracing::info!(
                event = "planned",
                changes = list(changes),
                "a changed configuration was looked at, and is not in force",
            );
        }
        Applied::Unchanged => {
            tracing::info!(event = "applied", changes = "", "nothing has changed");
        }
        Applied::Refused {
            app,
            reason,
            remedy,
        } => {
            tracing::error!(
                event = "apply-refused",
                app,
                reason,
                remedy,
                "the changed configuration was refused; serving on as before",
            );
        }
    }
}

fn list(changes: &[Change]) -> String {
    let texts: Vec<_> = changes.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
