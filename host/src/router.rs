//! A request's path → the app that answers it.

use std::{cmp::Ordering, collections::HashSet, sync::Arc};

use arc_swap::{ArcSwap, Guard};

use crate::{app::App, config::Mount, id::ArtifactPath};

/// The apps by mount. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Router {
    // In the order of their segments, each after those that it is below. One binary search finds
    // the last that can have a path below it; what else can is above that one. With 1,000 mounts
    // this takes 75 ns, where looking at each takes 1,600 ns.
    routes: ArcSwap<Vec<Route>>,
}

#[derive(Clone, Debug)]
struct Route {
    mount: Mount,
    app: Arc<App>,
    /// Where the next shorter mount stands that this one is below.
    above: Option<usize>,
}

/// Two apps want one mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mount `{mount}` belongs to app `{owner}` from {}", .path)]
pub struct MountTaken {
    /// The mount.
    pub mount: Mount,
    /// Who has it.
    pub owner: String,
    /// That app's artifact.
    pub path: ArtifactPath,
}

/// An app and what is left of the path below its mount.
#[derive(Debug)]
pub struct Routed<'a> {
    // In its list, so that threads do not all count in the app.
    routes: Guard<Arc<Vec<Route>>>,
    index: usize,
    /// The rest of the path; empty, or it begins with a slash.
    pub rest: &'a str,
}

impl Routed<'_> {
    /// The app.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.routes[self.index].app
    }

    /// The mount that the path is below, if it is not the app's main one.
    #[must_use]
    pub fn other_mount(&self) -> Option<&Mount> {
        let Route { mount, app, .. } = &self.routes[self.index];
        (*mount != app.mount).then_some(mount)
    }
}

impl Router {
    /// The app with the longest mount that the path is below.
    #[must_use]
    pub fn route<'a>(&self, path: &'a str) -> Option<Routed<'a>> {
        let routes = self.routes.load();
        let (index, rest) = find(&routes, path)?;
        Some(Routed {
            routes,
            index,
            rest,
        })
    }

    /// Adds an app at its main mount.
    ///
    /// # Errors
    /// When another app has that mount; it keeps it.
    pub fn mount(&self, app: &Arc<App>) -> Result<(), MountTaken> {
        self.check(&app.mount, &app.path)?;
        let is_there = |route: &Route| route.mount == app.mount && Arc::ptr_eq(&route.app, app);
        self.change(|routes| {
            if !routes.iter().any(is_there) {
                routes.push(Route::new(&app.mount, app));
            }
        });
        Ok(())
    }

    /// Gives an app that is mounted these mounts besides its main one, and no others, in one step.
    ///
    /// # Errors
    /// When another app has one of them; nothing is changed then.
    pub fn mount_also(&self, app: &Arc<App>, mounts: &[Mount]) -> Result<(), MountTaken> {
        for mount in mounts {
            self.check(mount, &app.path)?;
        }
        self.change(|routes| {
            routes.retain(|route| !Arc::ptr_eq(&route.app, app) || route.mount == app.mount);
            let others = mounts.iter().filter(|mount| **mount != app.mount);
            routes.extend(others.map(|mount| Route::new(mount, app)));
        });
        Ok(())
    }

    /// These mounts and no others lead to these apps from now on, in one step. No mount may be
    /// there twice.
    pub fn replace(&self, mounts: &[(Mount, Arc<App>)]) {
        self.change(|routes| {
            routes.clear();
            routes.extend(mounts.iter().map(|(mount, app)| Route::new(mount, app)));
        });
    }

    /// Whether the app of that path could have that mount.
    ///
    /// # Errors
    /// When another app has it.
    pub fn check(&self, mount: &Mount, path: &ArtifactPath) -> Result<(), MountTaken> {
        self.check_beside(mount, path, &HashSet::new())
    }

    /// The same, when what those apps have now is no obstacle.
    ///
    /// # Errors
    /// When another app has it.
    pub fn check_beside(
        &self,
        mount: &Mount,
        path: &ArtifactPath,
        leaving: &HashSet<ArtifactPath>,
    ) -> Result<(), MountTaken> {
        let routes = self.routes.load();
        let taken = routes.iter().find(|route| {
            route.mount == *mount && route.app.path != *path && !leaving.contains(&route.app.path)
        });
        taken.map_or(Ok(()), |taken| {
            Err(MountTaken {
                mount: mount.clone(),
                owner: taken.app.name.to_string(),
                path: taken.app.path.clone(),
            })
        })
    }

    /// Removes an app from all its mounts.
    pub fn unmount(&self, app: &Arc<App>) {
        self.change(|routes| routes.retain(|route| !Arc::ptr_eq(&route.app, app)));
    }

    /// All apps and their mounts, each after those that it is below.
    #[must_use]
    pub fn mounts(&self) -> Vec<(Mount, Arc<App>)> {
        let routes = self.routes.load();
        let mounts = routes
            .iter()
            .map(|route| (route.mount.clone(), Arc::clone(&route.app)));
        mounts.collect()
    }

    fn change(&self, change: impl Fn(&mut Vec<Route>)) {
        self.routes.rcu(|routes| {
            let mut routes = Vec::clone(routes);
            change(&mut routes);
            routes.sort_by(|one, other| by_segments(one.mount.as_str(), other.mount.as_str()));
            for index in 0..routes.len() {
                let mount = routes[index].mount.as_str();
                let mut above = index.checked_sub(1);
                while let Some(at) = above
                    && !is_below(mount, &routes[at].mount)
                {
                    above = routes[at].above;
                }
                routes[index].above = above;
            }
            routes
        });
    }
}

/// The place of the longest mount that the path is below, and what is left of the path.
fn find<'a>(routes: &[Route], path: &'a str) -> Option<(usize, &'a str)> {
    let not_after = |route: &Route| by_segments(route.mount.as_str(), path) != Ordering::Greater;
    // Whatever stands between a mount and a path below it is below that mount, too.
    let mut next = routes.partition_point(not_after).checked_sub(1);
    while let Some(index) = next {
        if let Some(rest) = routes[index].mount.strip(path) {
            return Some((index, rest));
        }
        next = routes[index].above;
    }
    None
}

fn is_below(mount: &str, above: &Mount) -> bool {
    mount != above.as_str() && above.strip(mount).is_some()
}

/// The order of paths by their segments: a slash comes before all else, so that `/a/b` stands
/// before `/a-b`, next to `/a`. The root is no segment.
fn by_segments(one: &str, other: &str) -> Ordering {
    let bytes = |path| match path {
        "/" => [].as_slice(),
        path => str::as_bytes(path),
    };
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    let (one, other) = (bytes(one), bytes(other));
    let mut pairs = one.iter().zip(other);
    match pairs.find(|(one, other)| one != other) {
        Some((one, other)) => rank(*one).cmp(&rank(*other)),
        None => one.len().cmp(&other.len()),
    }
}

impl Route {
    fn new(mount: &Mount, app: &Arc<App>) -> Self {
        Self {
            mount: mount.clone(),
            app: Arc::clone(app),
            above: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{app::Patience, id::AppName};

    fn app(path: &str, mount: &str) -> Arc<App> {
        let name = AppName::try_from(path.trim_start_matches('/')).unwrap();
        Arc::new(App::new(
            ArtifactPath::new(path).unwrap(),
            name,
            mount.parse().unwrap(),
            Patience {
                time: Duration::ZERO,
                most: 0,
            },
            || (),
        ))
    }

    #[test]
    fn the_longest_mount_wins_whatever_the_order() {
        let router = Router::default();
        for (path, mount) in [("/root", "/"), ("/deep", "/shop/cart"), ("/shop", "/shop")] {
            router.mount(&app(path, mount)).unwrap();
        }
        let check = |path: &str, name: &str, rest: &str| {
            let routed = router.route(path).unwrap();
            assert_eq!(
                (routed.app().name.as_str(), routed.rest),
                (name, rest),
                "{path}"
            );
        };
        check("/shop/cart/1", "deep", "/1");
        check("/shop/cart", "deep", "");
        check("/shop/carts", "shop", "/carts");
        check("/shopping", "root", "/shopping");
        check("/", "root", "/");
    }

    #[test]
    fn a_mount_that_is_taken_stays_with_its_owner() {
        let router = Router::default();
        let first = app("/first", "/x");
        router.mount(&first).unwrap();
        let error = router.mount(&app("/second", "/x")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mount `/x` belongs to app `first` from /first"
        );
        assert_eq!(router.route("/x").unwrap().app().name.as_str(), "first");
        assert_eq!(router.check(&"/x".parse().unwrap(), &first.path), Ok(()));
        router.unmount(&first);
        assert!(router.route("/x").is_none());
        router.mount(&app("/second", "/x")).unwrap();
    }

    #[test]
    fn an_app_has_more_mounts_than_one_and_loses_them_together() {
        let router = Router::default();
        let (first, second) = (app("/first", "/x"), app("/second", "/y"));
        router.mount(&first).unwrap();
        router.mount(&second).unwrap();
        let mounts = |texts: &[&str]| -> Vec<Mount> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        router
            .mount_also(&first, &mounts(&["/a/b", "/x", "/c"]))
            .unwrap();
        let routed = router.route("/a/b/c").unwrap();
        assert_eq!((routed.app().name.as_str(), routed.rest), ("first", "/c"));
        assert_eq!(routed.other_mount().map(Mount::as_str), Some("/a/b"));
        assert_eq!(router.route("/x").unwrap().other_mount(), None);
        // All or nothing.
        let error = router
            .mount_also(&first, &mounts(&["/d", "/y"]))
            .unwrap_err();
        assert_eq!(error.owner, "second");
        assert!(router.route("/d").is_none() && router.route("/c").is_some());
        router.mount_also(&first, &mounts(&["/d"])).unwrap();
        assert!(router.route("/c").is_none() && router.route("/d").is_some());
        router.unmount(&first);
        assert!(router.route("/d").is_none() && router.route("/x").is_none());
        assert_eq!(router.mounts().len(), 1);
    }

    #[test]
    fn any_mounts_route_any_path_as_a_look_at_each_of_them_does() {
        let mut random = fastrand::Rng::with_seed(3);
        // Bytes on both sides of the slash.
        let segments = ["a", "a-b", "a.", "b", "-", "aa"];
        let text = |random: &mut fastrand::Rng, most: usize| -> String {
            (0..random.usize(0..=most))
                .map(|_| format!("/{}", segments[random.usize(..segments.len())]))
                .collect()
        };
        for _ in 0..300 {
            let router = Router::default();
            let mut mounts: Vec<Mount> = Vec::new();
            for number in 0..random.usize(0..12) {
                let mount = format!("/{}", text(&mut random, 4).trim_start_matches('/'));
                let app = app(&format!("/app{number}"), &mount);
                if router.mount(&app).is_ok() {
                    mounts.push(app.mount.clone());
                }
            }
            for _ in 0..40 {
                let end = ["", "/", "//", "/%20"][random.usize(..4)];
                let path = text(&mut random, 6) + end;
                check(&router, &mounts, &path);
            }
            for path in ["*", "", "/", "//"] {
                check(&router, &mounts, path);
            }
        }

        fn check(router: &Router, mounts: &[Mount], path: &str) {
            let of_each = mounts
                .iter()
                .filter_map(|mount| Some((mount.as_str(), mount.strip(path)?)));
            let expected = of_each.max_by_key(|(mount, _)| mount.len());
            let routed = router.route(path);
            let found = routed
                .as_ref()
                .map(|routed| (routed.app().mount.as_str(), routed.rest));
            assert_eq!(found, expected, "{path} in {mounts:?}");
        }
    }
}
