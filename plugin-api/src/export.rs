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
/// The app is named after the package. Options follow the function, each once:
///
/// | option | meaning |
/// |---|---|
/// | `name = "other"` | the app's name |
/// | `unload_safe = false` | the library must stay mapped once it has been loaded (it hands out its code's addresses, say): the host then never unmaps it |
/// | `heap = false` | no allocator is installed, so that the crate can have a `#[global_allocator]` of its own; what its statics hold is then lost at each reload |
///
/// Otherwise the library's memory is of a heap that the host keeps for this generation: it is
/// destroyed whole after the library has been unmapped, and the host's status tells its size. The
/// cargo feature `no-heap` turns that off for all plugins of a build.
#[macro_export]
macro_rules! export_app {
    ($app:path $(, $option:ident = $value:tt)* $(,)?) => {
        const _: () = {
            const OPTIONS: $crate::manifest::Options =
                $crate::manifest::Options::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
                    $(.$option($value))*;
            const PARTS: [&str; $crate::manifest::PARTS] = OPTIONS.parts();

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

            $crate::__allocator!($($option = $value,)*);
        };
    };
}

/// The allocator of a plugin, unless an option says that there is to be none.
#[cfg(not(feature = "no-heap"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __allocator {
    () => {
        #[global_allocator]
        static REPLUG_HEAP: $crate::__private::GenerationHeap = $crate::__private::GenerationHeap;
    };
    (heap = false, $($rest:tt)*) => {};
    ($option:ident = $value:tt, $($rest:tt)*) => {
        $crate::__allocator!($($rest)*);
    };
}

/// The feature `no-heap`: none.
#[cfg(feature = "no-heap")]
#[doc(hidden)]
#[macro_export]
macro_rules! __allocator {
    ($($any:tt)*) => {};
}
