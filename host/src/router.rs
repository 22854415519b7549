//! A request's path → the app that answers it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::{app::App, config::Mount, id::ArtifactPath};

/// The apps by mount. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Router {
    // The longest mount first.
    apps: ArcSwap<Vec<Arc<App>>>,
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
    apps: Guard<Arc<Vec<Arc<App>>>>,
    index: usize,
    /// The rest of the path; empty, or it begins with a slash.
    pub rest: &'a str,
}

impl Routed<'_> {
    /// The app.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.apps[self.index]
    }
}

impl Router {
    /// The app with the longest mount that the path is below.
    #[must_use]
    pub fn route<'a>(&self, path: &'a str) -> Option<Routed<'a>> {
        let apps = self.apps.load();
        let (index, rest) = apps.iter().enumerate().find_map(|(index, app)| {
            let rest = app.mount.strip(path)?;
            Some((index, rest))
        })?;
        Some(Routed { apps, index, rest })
    }

    /// Adds an app.
    ///
    /// # Errors
    /// When another app has that mount; it keeps it.
    pub fn mount(&self, app: &Arc<App>) -> Result<(), MountTaken> {
        self.check(&app.mount, &app.path)?;
        self.apps.rcu(|apps| {
            let mut apps = Vec::clone(apps);
            apps.push(Arc::clone(app));
            apps.sort_by_key(|app| std::cmp::Reverse(app.mount.as_str().len()));
            apps
        });
        Ok(())
    }

    /// Whether the app of that path could have that mount.
    ///
    /// # Errors
    /// When another app has it.
    pub fn check(&self, mount: &Mount, path: &ArtifactPath) -> Result<(), MountTaken> {
        let apps = self.apps.load();
        let owner = apps
            .iter()
            .find(|other| other.mount == *mount && other.path != *path);
        owner.map_or(Ok(()), |owner| {
            Err(MountTaken {
                mount: mount.clone(),
                owner: owner.name.to_string(),
                path: owner.path.clone(),
            })
        })
    }

    /// Removes an app.
    pub fn unmount(&self, app: &Arc<App>) {
        self.apps.rcu(|apps| {
            apps.iter()
                .filter(|other| !Arc::ptr_eq(other, app))
                .cloned()
                .collect::<Vec<_>>()
        });
    }

    /// All apps, the longest mount first.
    #[must_use]
    pub fn apps(&self) -> Vec<Arc<App>> {
        Vec::clone(&self.apps.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AppName;

    fn app(path: &str, mount: &str) -> Arc<App> {
        let name = AppName::try_from(path.trim_start_matches('/')).unwrap();
        Arc::new(App::new(
            ArtifactPath::new(path).unwrap(),
            name,
            mount.parse().unwrap(),
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
}
