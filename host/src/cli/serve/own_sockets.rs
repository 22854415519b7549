//! What groups listen on themselves, bound with all else.

use std::{collections::HashMap, sync::Arc};

use super::start::cannot_start;
use crate::{
    config::{Config, ListenAddress},
    exit_code::ExitCode,
    id::GroupName,
    server::{Lane, Listeners},
    supervisor::GroupSockets,
};

type ByGroup = HashMap<GroupName, Arc<GroupSockets>>;

/// Where the host listens, and after that where its groups do, in their order.
pub(super) fn all_addresses(config: &Config) -> Vec<ListenAddress> {
    let groups = config.groups.values().flat_map(|group| &group.listen);
    config.listen.iter().chain(groups).cloned().collect()
}

/// Takes the groups' sockets out of those for [`all_addresses`]. `left` are the lanes of the image
/// before; what comes second are all lanes, for the next image.
pub(super) fn apart(
    config: &Config,
    listeners: &mut Listeners,
    mut left: Vec<(GroupName, Lane)>,
) -> Result<(ByGroup, Vec<(GroupName, Lane)>), ExitCode> {
    let mut rest = listeners.split_off(config.listen.len());
    let mut groups = HashMap::new();
    let mut lanes = Vec::new();
    for (name, options) in &config.groups {
        if options.listen.is_empty() {
            continue;
        }
        let others = rest.split_off(options.listen.len());
        let own = std::mem::replace(&mut rest, others);
        let known = left.iter().position(|(group, _)| group == name);
        let lane = match known.map(|at| left.swap_remove(at)) {
            Some((_, lane)) => Ok(lane),
            None => Lane::new(),
        };
        let lane = lane.and_then(|lane| Ok((lane.try_clone()?, lane)));
        let (lane, kept) = lane.map_err(|error| {
            let error = format!("group `{name}` cannot pass connections on: {error}");
            cannot_start(&error, "raise the limit of open files (ulimit -n)")
        })?;
        groups.insert(name.clone(), Arc::new(GroupSockets::new(own, lane)));
        lanes.push((name.clone(), kept));
    }
    Ok((groups, lanes))
}
