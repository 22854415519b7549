//! Running a plugin's destructors where an abort of theirs does not end the host.
//!
//! The standard library calls `abort` when the destructor of a thread-local panics. On a thread of
//! the host's such destructors are run on a stack of their own, and if they abort, that stack is
//! left as it is, for ever, and the thread goes on here: to the plugin it is as if the destructor
//! never came back. Nothing is unwound or jumped over. Its generation stays loaded then.

use std::cell::Cell;

thread_local! {
    /// The innermost contained run of this thread, or null. A plain pointer, since a destructor of
    /// ours would call the very hook that asks for it.
    static CURRENT: Cell<*mut Run> = const { Cell::new(std::ptr::null_mut()) };
}

pub(super) use platform::{Run, run, take_abort};

/// The work aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aborted;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod platform {
    use std::{io, mem::MaybeUninit, ptr};

    use super::{Aborted, CURRENT};

    /// As much as the standard library gives a thread. Only what is used takes memory.
    const STACK: usize = 2 << 20;
    const GUARD: usize = 64 << 10;

    pub(in super::super) struct Run {
        /// Where this thread goes on.
        back: MaybeUninit<libc::ucontext_t>,
        work: *mut dyn FnMut(),
        aborted: bool,
        outer: *mut Run,
    }

    /// Runs `work` on this thread, on a stack of its own.
    ///
    /// # Errors
    /// When it aborted.
    pub(in super::super) fn run(work: &mut dyn FnMut()) -> Result<(), Aborted> {
        let Ok(stack) = Stack::new() else {
            // Without memory for a stack it is done here, and an abort is one.
            work();
            return Ok(());
        };
        let work: *mut (dyn FnMut() + '_) = work;
        let mut this = Run {
            back: MaybeUninit::uninit(),
            // SAFETY: only the lifetime is changed; `entry` is the only one to use it, and it runs
            // before this function returns, or never again.
            work: unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut dyn FnMut()>(work) },
            aborted: false,
            outer: CURRENT.get(),
        };
        let mut there = MaybeUninit::<libc::ucontext_t>::uninit();
        // SAFETY: fills it in.
        if unsafe { libc::getcontext(there.as_mut_ptr()) } != 0 {
            // It fails on no Linux; and if it did, this is what there would be without us.
            // SAFETY: the caller's, not in use.
            unsafe { (*this.work)() };
            return Ok(());
        }
        // SAFETY: filled in above.
        let context = unsafe { there.assume_init_mut() };
        context.uc_stack.ss_sp = stack.bottom;
        context.uc_stack.ss_size = STACK;
        context.uc_link = this.back.as_mut_ptr();
        // SAFETY: a context with a stack of its own, and a function without arguments.
        unsafe { libc::makecontext(context, entry, 0) };
        CURRENT.set(&raw mut this);
        // SAFETY: goes to `entry`; comes back when that returns, or from `take_abort`. Both leave
        // `this`, which lives below that stack, as it is.
        unsafe { libc::swapcontext(this.back.as_mut_ptr(), context) };
        CURRENT.set(this.outer);
        // Changed behind the compiler's back.
        // SAFETY: ours.
        if unsafe { ptr::read_volatile(&raw const this.aborted) } {
            stack.leave();
            return Err(Aborted);
        }
        Ok(())
    }

    extern "C" fn entry() {
        let current = CURRENT.get();
        // SAFETY: set by `run`, which waits for us.
        let work = unsafe { (*current).work };
        // SAFETY: as above.
        unsafe { (*work)() };
    }

    /// Called in the place of `abort`. In a contained run it does not return.
    pub(in super::super) fn take_abort() {
        let current = CURRENT
            .try_with(std::cell::Cell::get)
            .unwrap_or(ptr::null_mut());
        if current.is_null() {
            return;
        }
        // SAFETY: set by `run`, which waits for us on this thread.
        let current = unsafe { &mut *current };
        current.aborted = true;
        // SAFETY: filled in when `run` left for here; its stack is as it was.
        unsafe { libc::setcontext(current.back.as_ptr()) };
    }

    struct Stack {
        mapping: *mut libc::c_void,
        bottom: *mut libc::c_void,
    }

    impl Stack {
        fn new() -> io::Result<Self> {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping, anywhere.
            let mapping =
                unsafe { libc::mmap(ptr::null_mut(), STACK + GUARD, access, flags, -1, 0) };
            if mapping == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let bottom = mapping.wrapping_byte_add(GUARD);
            let stack = Self { mapping, bottom };
            // SAFETY: the lower end of our own mapping. An overflow must hit it.
            if unsafe { libc::mprotect(mapping, GUARD, libc::PROT_NONE) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(stack)
        }

        /// Leaves it mapped: what stands on it may be referred to.
        fn leave(self) {
            #[expect(clippy::mem_forget, reason = "left on purpose")]
            std::mem::forget(self);
        }
    }

    impl Drop for Stack {
        fn drop(&mut self) {
            // SAFETY: our own mapping, which nothing runs on any more.
            unsafe { libc::munmap(self.mapping, STACK + GUARD) };
        }
    }
}

/// Elsewhere nothing is unloaded, and so nothing is run early.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod platform {
    use super::Aborted;

    pub(in super::super) struct Run;

    pub(in super::super) fn run(work: &mut dyn FnMut()) -> Result<(), Aborted> {
        work();
        Ok(())
    }

    pub(in super::super) fn take_abort() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_on_this_thread() {
        let before = std::thread::current().id();
        let mut seen = None;
        assert_eq!(
            run(&mut || seen = Some(std::thread::current().id())),
            Ok(())
        );
        assert_eq!(seen, Some(before));
    }

    #[test]
    fn an_abort_ends_the_work_and_nothing_else() {
        let mut steps = Vec::new();
        let outcome = run(&mut || {
            steps.push(1);
            let inner = run(&mut || {
                // As the standard library does.
                std::process::abort();
            });
            assert_eq!(inner, Err(Aborted));
            steps.push(2);
        });
        assert_eq!((outcome, &steps[..]), (Ok(()), &[1, 2][..]));
        assert!(CURRENT.get().is_null());
    }

    #[test]
    fn a_panic_inside_is_caught_inside() {
        let outcome = run(&mut || {
            let caught = std::panic::catch_unwind(|| panic!("inside"));
            assert!(caught.is_err());
        });
        assert_eq!(outcome, Ok(()));
    }
}
