//! Starting a worker's process.

use std::{ffi::OsString, io, os::fd::OwnedFd};

use clap::ValueEnum as _;
use rustix::process::Signal;

use super::{GroupSockets, crew::Plan, log::Log};
use crate::{
    config::Scheduling,
    process::child::{Batch, Cgroup, Child, ChildSpec, Environment, Limits, Line, Sink},
    reload::LaunchError,
    telemetry,
};

/// Starts a worker of that plan: with its end of the channel, and the socket that it is to listen
/// on. What it logs comes by the way that is returned.
///
/// # Errors
/// When the system refuses something of it.
pub(super) async fn spawn(
    plan: &Plan,
    number: u32,
    channel: OwnedFd,
    listener: OwnedFd,
) -> Result<(Child, Log), LaunchError> {
    let failed = |reason: String, remedy: &str| LaunchError {
        app: None,
        reason: format!("worker {number} cannot be started: {reason}"),
        remedy: remedy.to_owned(),
    };
    let (log, copied) =
        Log::new().map_err(|error| failed(error.to_string(), "raise the limit of open files"))?;
    let mut descriptors = vec![channel, listener, log];
    if let Some(sockets) = &plan.sockets {
        let own = sockets.lane().into_iter().chain(sockets.listening());
        let own = own.map(|descriptor| descriptor.try_clone_to_owned());
        let own = own.collect::<io::Result<Vec<_>>>();
        let own =
            own.map_err(|error| failed(error.to_string(), "raise the limit of open files"))?;
        descriptors.extend(own);
    }
    let options = &plan.options;
    let identity = options.identity().map_err(|error| {
        failed(
            error.to_string(),
            "name a user with a group in the configuration",
        )
    })?;
    let spec = ChildSpec {
        name: Some(format!("{} worker {number}", plan.title()).into()),
        args: arguments(plan.sockets.as_deref()),
        environment: environment(plan),
        directory: options.home.clone(),
        descriptors,
        identity,
        umask: options.umask,
        nice: Some(options.nice).filter(|nice| *nice != 0),
        batch: match options.scheduling {
            // Else each of its requests would have a worker interrupt the thread that passes on the
            // next ones. Who takes connections itself interrupts nobody here.
            Scheduling::Auto if plan.sockets.is_none() => Some(Batch::Wanted),
            Scheduling::Batch => Some(Batch::Required),
            Scheduling::Auto | Scheduling::Host => None,
        },
        no_new_privs: options.no_new_privs,
        // Ctrl-C is for the host, which sees to it that its workers finish first.
        own_group: true,
        limits: Limits {
            memory: Some(options.memory_limit).filter(|bytes| *bytes > 0),
            // The system counts whole seconds.
            cpu_time: Some(options.cpu_time_limit)
                .filter(|time| !time.is_zero())
                .map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
            core: None,
        },
        cgroup: plan.cgroups.as_ref().map(|area| Cgroup {
            directory: area.place(&format!("{}-{number}", plan.group)),
            memory_max: Some(options.memory_limit)
                .filter(|bytes| *bytes > 0 && area.limits_memory()),
        }),
        // It removes what its supervisor has left, when it is told of the end; else it is killed by
        // nobody.
        parent_death: Some(Signal::TERM),
        output: Some(tell(plan, number)),
        ..ChildSpec::default()
    };
    let child = spec.spawn().await.map_err(|error| {
        let remedy =
            "start the host with the rights that the group's options need, or change these";
        failed(error.to_string(), remedy)
    })?;
    Ok((child, copied))
}

/// The variables that it has besides those of the host, or in their place.
fn environment(plan: &Plan) -> Environment {
    /// The allocator would set a gigabyte aside and have all of it count as in use, touched or not.
    const ARENAS: (&str, &str) = ("MIMALLOC_ARENA_EAGER_COMMIT", "0");
    let own = [ARENAS].into_iter();
    let own = own.filter(|(name, _)| std::env::var_os(name).is_none());
    let said = plan.options.environment.iter();
    let said = said.map(|(name, value)| (name.as_str(), value.as_str()));
    Environment {
        inherit: true,
        // Of two with one name the later counts.
        set: own
            .chain(said)
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    }
}

/// What stands behind its name: the descriptors, in the order of `descriptors`, and how to log.
fn arguments(sockets: Option<&GroupSockets>) -> Vec<OsString> {
    let mut arguments = vec!["worker", "--channel=3", "--listener=4", "--log=5"]
        .into_iter()
        .map(OsString::from)
        .collect::<Vec<_>>();
    if let Some(sockets) = sockets {
        arguments.extend(["--lane", "6", "7"].map(OsString::from));
        let listening = sockets.listening().enumerate();
        arguments.extend(listening.map(|(at, _)| format!("--direct={}", 8 + at).into()));
    }
    if let Some(options) = telemetry::options() {
        let format = options.format.to_possible_value();
        let level = options.level.to_possible_value();
        for (flag, value) in [("--log-format", format), ("--log-level", level)] {
            if let Some(value) = value {
                arguments.push(flag.into());
                arguments.push(value.get_name().into());
            }
        }
    }
    arguments
}

/// Passes on what it prints, line by line.
fn tell(plan: &Plan, number: u32) -> Sink {
    let group = plan.group.clone();
    Sink::new(move |Line { stream, text }| {
        tracing::info!(
            event = "output",
            group = group.as_str(),
            worker = number,
            stream = %stream,
            "{text}"
        );
    })
}
