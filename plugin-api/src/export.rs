//! The macro that makes a library a plugin.

/// Makes the crate a plugin whose app is what `$app` returns.
///
/// `$app` is a `fn` or an `async fn`, takes `&mut Setup`, and returns a service or a `Result` of
/// one (see [`AppService`](crate::AppService)). An error, or a panic, refuses the generation: the
/// one before keeps serving, and the reason is in the host's log.
///
/// ```
/// # use axum::Router;
/// # use replug_plugin::{BoxError, Setup, export_app};
/// # mod plugin { use super::*;
/// export_app!(app);
/// # }
///
/// async fn app(setup: &mut Setup) -> Result<Router, BoxError> {
///     let settings: serde_json::Value = setup.settings()?;
///     Ok(Router::new())
/// }
/// # fn main() {}
/// ```
///
/// The app is named after the package. `export_app!(app, name = "other")` names it otherwise, and
/// `export_app!(app, unload_safe = false)` says that the library must stay mapped once it has
/// been loaded (it hands out its code's addresses, say): the host then never unmaps it.
#[macro_export]
macro_rules! export_app {
    ($app:path $(,)?) => {
        $crate::export_app!(@ $app, env!("CARGO_PKG_NAME"), true);
    };
    ($app:path, name = $name:literal $(,)?) => {
        $crate::export_app!(@ $app, $name, true);
    };
    ($app:path, unload_safe = $safe:literal $(,)?) => {
        $crate::export_app!(@ $app, env!("CARGO_PKG_NAME"), $safe);
    };
    ($app:path, name = $name:literal, unload_safe = $safe:literal $(,)?) => {
        $crate::export_app!(@ $app, $name, $safe);
    };
    (@ $app:path, $name:expr, $safe:expr) => {
        const _: () = {
            const PARTS: [&str; 15] =
                $crate::manifest::parts($name, env!("CARGO_PKG_VERSION"), $safe);

            // Exported, so that no linker drops it as unused.
            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".replug")]
            pub static REPLUG_MANIFEST_1: [u8; $crate::manifest::len(&PARTS)] =
                $crate::manifest::join(&PARTS);

            #[unsafe(no_mangle)]
            pub static REPLUG_PLUGIN_1: $crate::abi::PluginTable =
                $crate::__private::plugin_table(replug_setup);

            unsafe extern "C" fn replug_setup(
                args: *const $crate::abi::SetupArgs,
                outcome: *mut $crate::abi::SetupOutcome,
            ) -> $crate::abi::Status {
                // SAFETY: handed on to the host, which calls this by the ABI.
                unsafe {
                    $crate::__private::setup(args, outcome, |setup| {
                        $crate::__private::start($app, setup)
                    })
                }
            }
        };
    };
}
