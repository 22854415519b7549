//! Control groups for workers.

use std::{
    collections::HashMap,
    fmt::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    config::{ByteSize, CgroupPlace, GroupOptions},
    id::GroupName,
    process::cgroup::{Area, Site, Unusable, delegated},
};

/// Where workers have control groups. Shared by all who have a clone.
#[derive(Clone, Debug, Default)]
pub struct Cgroups(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By the control groups that they are in.
    areas: HashMap<PathBuf, Arc<Area>>,
    /// How the limits of groups hold, as it was logged last.
    told: HashMap<GroupName, String>,
}

impl Cgroups {
    /// Where workers with these options have control groups; `None`: nowhere. What is not there yet
    /// is made: this process goes to another control group for that, and what earlier ones have left
    /// is killed. May take seconds therefore, and blocks.
    ///
    /// # Errors
    /// When there are to be some, and cannot be.
    pub fn of(
        &self,
        group: &GroupName,
        options: &GroupOptions,
    ) -> Result<Option<Arc<Area>>, Unusable> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match site(options)? {
            Found::At(site) => known.area(&site).map_or_else(
                |error| otherwise(options, error).map(Err),
                |area| Ok(Ok(area)),
            )?,
            Found::Nowhere(why) => Err(why),
        };
        let place = found.as_ref().map(|area| Place {
            directory: area.directory().display().to_string(),
            limits_memory: area.limits_memory(),
        });
        let told = holding(options, place.as_ref().map_err(|why| why.as_deref()));
        if let Some(told) = told
            && known.told.get(group) != Some(&told)
        {
            tracing::info!(
                event = "limits",
                group = group.as_str(),
                "group `{group}`: {told}"
            );
            known.told.insert(group.clone(), told);
        }
        Ok(found.ok())
    }
}

impl Known {
    fn area(&mut self, site: &Site) -> Result<Arc<Area>, Unusable> {
        if let Some(area) = self.areas.get(site.directory())
            // Else somebody has cleaned up.
            && area.directory().is_dir()
        {
            return Ok(Arc::clone(area));
        }
        let area = Arc::new(Area::make(site)?);
        let at = site.directory().to_owned();
        self.areas.insert(at, Arc::clone(&area));
        Ok(area)
    }
}

/// How the limits of such workers would hold here, without anything being changed; `None`: they have
/// none.
///
/// # Errors
/// When there are to be control groups, and cannot be.
pub fn limits(options: &GroupOptions) -> Result<Option<String>, Unusable> {
    let found = match site(options)? {
        Found::At(site) => Ok(Place {
            directory: site.directory().display().to_string(),
            limits_memory: site.limits_memory(),
        }),
        Found::Nowhere(why) => Err(why),
    };
    Ok(holding(
        options,
        found.as_ref().map_err(|why| why.as_deref()),
    ))
}

#[derive(Debug)]
enum Found {
    At(Site),
    /// Why, unless that is what was wished for.
    Nowhere(Option<String>),
}

fn site(options: &GroupOptions) -> Result<Found, Unusable> {
    let site = match &options.cgroup {
        CgroupPlace::Off => return Ok(Found::Nowhere(None)),
        CgroupPlace::Auto | CgroupPlace::Required => delegated().and_then(|it| Site::look(&it)),
        CgroupPlace::Below(path) => match path.canonicalize() {
            Ok(path) => Site::look(&path),
            Err(_) => Site::look(path),
        },
    };
    match site {
        Ok(site)
            if options.memory_limit > 0
                && !site.limits_memory()
                && options.cgroup != CgroupPlace::Auto =>
        {
            Err(Unusable::NoMemory(site.directory().to_owned()))
        }
        Ok(site) => Ok(Found::At(site)),
        Err(error) => otherwise(options, error).map(Found::Nowhere),
    }
}

/// What it means that there can be none.
fn otherwise(options: &GroupOptions, error: Unusable) -> Result<Option<String>, Unusable> {
    match options.cgroup {
        CgroupPlace::Auto => Ok(Some(error.to_string())),
        _ => Err(error),
    }
}

#[derive(Debug)]
struct Place {
    directory: String,
    limits_memory: bool,
}

/// By what means the limits of workers hold, which have control groups there, or none, and maybe why.
fn holding(options: &GroupOptions, place: Result<&Place, Option<&str>>) -> Option<String> {
    let memory = Some(options.memory_limit).filter(|bytes| *bytes > 0);
    let time = Some(options.cpu_time_limit).filter(|time| !time.is_zero());
    let mut text = String::new();
    if let Some(bytes) = memory {
        let _ = write!(text, "memory-limit {} by RLIMIT_DATA", ByteSize(bytes));
        if place.is_ok_and(|place| place.limits_memory) {
            text.push_str(" and memory.max");
        }
    }
    if let Some(time) = time {
        let comma = if text.is_empty() { "" } else { ", " };
        let time = humantime::format_duration(time);
        let _ = write!(text, "{comma}cpu-time-limit {time} by RLIMIT_CPU");
    }
    match place {
        Ok(Place {
            directory,
            limits_memory,
        }) => {
            let semicolon = if text.is_empty() { "" } else { "; " };
            let _ = write!(
                text,
                "{semicolon}a control group for each worker below {directory}"
            );
            if memory.is_some() && !limits_memory {
                text.push_str(", which has no controller of memory");
            }
        }
        Err(Some(why)) if memory.is_some() => {
            let _ = write!(text, "; no control groups: {why}");
        }
        Err(_) => {}
    }
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_means_of_limits_are_named() {
        let options = GroupOptions {
            memory_limit: 64 << 20,
            cpu_time_limit: Duration::from_secs(90),
            ..GroupOptions::default()
        };
        let place = |limits_memory| Place {
            directory: "/cg/replug-7-1".to_owned(),
            limits_memory,
        };
        assert_eq!(
            holding(&options, Ok(&place(true))).unwrap(),
            "memory-limit 64.0 MiB by RLIMIT_DATA and memory.max, cpu-time-limit 1m 30s by \
             RLIMIT_CPU; a control group for each worker below /cg/replug-7-1"
        );
        let without = holding(&options, Ok(&place(false))).unwrap();
        assert!(
            without.ends_with("which has no controller of memory"),
            "{without}"
        );
        assert!(!without.contains("memory.max"), "{without}");
        let nowhere = holding(&options, Err(Some("it is not mounted"))).unwrap();
        assert!(
            nowhere.ends_with("; no control groups: it is not mounted"),
            "{nowhere}"
        );
        let nothing = GroupOptions::default();
        assert_eq!(holding(&nothing, Err(Some("whatever"))), None);
    }

    #[test]
    fn who_wants_none_has_none_and_who_needs_some_is_told_what_is_missing() {
        let cgroups = Cgroups::default();
        let blue = GroupName::try_from("blue").unwrap();
        let mut options = GroupOptions {
            cgroup: CgroupPlace::Off,
            memory_limit: 1 << 30,
            ..GroupOptions::default()
        };
        assert!(cgroups.of(&blue, &options).unwrap().is_none());
        let dir = tempfile::tempdir().unwrap();
        options.cgroup = CgroupPlace::Below(dir.path().to_owned());
        let error = cgroups.of(&blue, &options).unwrap_err();
        assert!(matches!(error, Unusable::NotOne(_)), "{error}");
    }
}
