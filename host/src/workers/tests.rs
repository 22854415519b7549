use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    process::{Command, Stdio},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use http::{Method, Uri};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::time::Instant;

use super::*;

fn about(id: u64) -> About {
    About {
        app: "hello".try_into().unwrap(),
        id,
        method: Method::GET,
        uri: Uri::from_static("/hello?secret"),
        since: Instant::now(),
    }
}

fn worker(number: u32) -> Arc<Worker> {
    Worker::new(number, 1000 + number, None, "/nowhere".into(), 0)
}

fn set(workers: &[&Arc<Worker>], queue: usize) -> Set {
    let patience = Patience {
        queue,
        queue_timeout: Duration::ZERO,
    };
    Set::new(workers.iter().map(|it| Arc::clone(it)).collect(), patience)
}

/// Polls once.
async fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(pin!(&mut *future).poll(cx))).await
}

#[test]
fn each_request_goes_to_the_worker_with_the_fewest() {
    let (a, b) = (worker(1), worker(2));
    let set = set(&[&a, &b], 0);
    let mut held: Vec<_> = (0..4).map(|id| set.pick(&about(id)).unwrap()).collect();
    assert_eq!((a.in_flight(), b.in_flight()), (2, 2));
    held.retain(|held| held.worker().number == 1);
    for _ in 0..2 {
        let next = set.pick(&about(9)).unwrap();
        assert_eq!(next.worker().number, 2);
        held.push(next);
    }
    assert_eq!((a.in_flight(), b.in_flight(), set.in_flight()), (2, 2, 4));
}

#[test]
fn workers_that_hold_equally_many_take_turns() {
    let workers = [worker(1), worker(2), worker(3)];
    let set = set(&workers.each_ref(), 0);
    let mut taken = HashMap::<u32, usize>::new();
    for id in 0..300 {
        let held = set.pick(&about(id)).unwrap();
        *taken.entry(held.worker().number).or_default() += 1;
    }
    assert_eq!(taken, HashMap::from([(1, 100), (2, 100), (3, 100)]));
}

#[test]
fn a_worker_that_drains_or_died_gets_no_request() {
    let (a, b, c) = (worker(1), worker(2), worker(3));
    let set = set(&[&a, &b, &c], 0);
    a.drain();
    b.died(Death::Killed(9));
    for id in 0..10 {
        assert_eq!(set.pick(&about(id)).unwrap().worker().number, 3);
    }
    assert_eq!(
        (a.phase(), b.phase(), c.phase()),
        (Phase::Draining, Phase::Dead, Phase::Ready)
    );
    c.drain();
    assert!(set.pick(&about(1)).is_none());
}

#[test]
fn a_worker_that_dies_says_what_it_held_and_only_once() {
    let a = worker(1);
    let set = set(&[&a], 0);
    let mut held: Vec<_> = (1..=3).map(|id| set.pick(&about(id)).unwrap()).collect();
    held.remove(1);
    let named: Vec<_> = a.died(Death::Killed(11)).iter().map(|it| it.id).collect();
    assert_eq!(named, [1, 3]);
    assert!(a.gone().is_cancelled() && a.leaving().is_cancelled());
    assert!(a.died(Death::Exited(0)).is_empty());
    assert_eq!(a.death(), Some(&Death::Killed(11)));
    assert_eq!(a.in_flight(), 2);
    drop(held);
    assert_eq!(a.in_flight(), 0);
}

#[test]
fn a_request_is_named_without_its_query() {
    let text = about(7).to_string();
    assert_eq!(text, "request 7 of hello: GET /hello");
}

#[tokio::test]
async fn requests_wait_in_order_and_get_a_worker_as_soon_as_one_is_ready() {
    let set = set(&[], 10);
    let mut first = Box::pin(set.hold(about(1)));
    let mut second = Box::pin(set.hold(about(2)));
    assert!(poll(&mut first).await.is_pending());
    assert!(poll(&mut second).await.is_pending());
    assert_eq!(set.waiting(), 2);
    let a = worker(1);
    set.add(Arc::clone(&a));
    let named: Vec<_> = a.held().iter().map(|it| it.id).collect();
    assert_eq!(named, [1, 2]);
    assert_eq!(first.await.unwrap().about().id, 1);
    assert_eq!(second.await.unwrap().about().id, 2);
    assert_eq!((set.waiting(), a.in_flight()), (0, 0));
}

#[tokio::test]
async fn no_more_requests_wait_than_may() {
    let set = set(&[], 1);
    let mut first = Box::pin(set.hold(about(1)));
    assert!(poll(&mut first).await.is_pending());
    assert_eq!(set.hold(about(2)).await.unwrap_err(), Refusal::Full);
    // One that goes away makes room.
    drop(first);
    let mut third = Box::pin(set.hold(about(3)));
    assert!(poll(&mut third).await.is_pending());
    assert_eq!(set.waiting(), 1);
}

#[tokio::test]
async fn a_request_waits_no_longer_than_it_may() {
    let patience = Patience {
        queue: 1,
        queue_timeout: Duration::from_millis(1),
    };
    let set = Set::new(Vec::new(), patience);
    assert_eq!(set.hold(about(1)).await.unwrap_err(), Refusal::TimedOut);
    assert_eq!(set.waiting(), 0);
}

#[tokio::test]
async fn a_request_that_went_away_takes_no_worker() {
    let set = set(&[], 2);
    let mut first = Box::pin(set.hold(about(1)));
    assert!(poll(&mut first).await.is_pending());
    let a = worker(1);
    set.add(Arc::clone(&a));
    assert_eq!(a.in_flight(), 1);
    drop(first);
    assert_eq!(a.in_flight(), 0);
}

#[tokio::test]
async fn requests_of_a_set_that_is_shut_do_not_wait() {
    let set = set(&[], 2);
    let mut first = Box::pin(set.hold(about(1)));
    assert!(poll(&mut first).await.is_pending());
    set.shut("they die at once");
    let shut = Refusal::Shut("they die at once".into());
    assert_eq!(first.await.unwrap_err(), shut);
    assert_eq!(set.hold(about(2)).await.unwrap_err(), shut);
    set.open();
    let mut third = Box::pin(set.hold(about(3)));
    assert!(poll(&mut third).await.is_pending());
}

#[tokio::test]
async fn requests_of_an_app_that_others_answer_for_by_now_are_turned_back() {
    let set = set(&[], 4);
    let other = About {
        app: AppName::try_from("other").unwrap(),
        ..about(2)
    };
    let mut first = Box::pin(set.hold(about(1)));
    let mut second = Box::pin(set.hold(other));
    assert!(poll(&mut first).await.is_pending());
    assert!(poll(&mut second).await.is_pending());
    set.turn_back(&about(1).app);
    assert_eq!(first.await.unwrap_err(), Refusal::Replaced);
    assert!(poll(&mut second).await.is_pending());
    assert_eq!(set.hold(about(3)).await.unwrap_err(), Refusal::Replaced);
    // What can be answered here is.
    set.add(worker(1));
    assert_eq!(set.hold(about(4)).await.unwrap().about().id, 4);
    assert_eq!(second.await.unwrap().about().id, 2);
}

#[tokio::test]
async fn a_worker_is_replaced_without_losing_what_it_holds() {
    let (a, b) = (worker(1), worker(1));
    let set = set(&[&a], 0);
    let held = set.pick(&about(1)).unwrap();
    set.replace(&a, Arc::clone(&b));
    assert_eq!((a.phase(), set.in_flight()), (Phase::Draining, 1));
    let next = set.pick(&about(2)).unwrap();
    assert_eq!(next.worker().serial(), b.serial());
    let mut drained = Box::pin(set.drained());
    assert!(poll(&mut drained).await.is_pending());
    drop(next);
    assert!(poll(&mut drained).await.is_pending());
    drop(held);
    drained.await;
    assert_eq!(set.workers().len(), 1);
    set.remove(&b);
    assert!(set.workers().is_empty());
}

#[tokio::test]
async fn a_set_is_not_drained_while_a_request_waits() {
    let a = worker(1);
    let set = set(&[], 1);
    let mut waiting = Box::pin(set.hold(about(1)));
    assert!(poll(&mut waiting).await.is_pending());
    let mut drained = Box::pin(set.drained());
    assert!(poll(&mut drained).await.is_pending());
    set.add(a);
    let held = waiting.await.unwrap();
    assert!(poll(&mut drained).await.is_pending());
    drop(held);
    drained.await;
}

#[tokio::test]
async fn a_request_does_not_wait_for_a_worker_that_it_has_tried() {
    let (a, b) = (worker(1), worker(2));
    let set = set(&[&a], 1);
    let tried = Tried::from_slice(&[a.serial()]);
    assert!(set.pick_other(about(1), &tried).is_none());
    let mut waiting = Box::pin(set.hold_other(about(1), tried));
    assert!(poll(&mut waiting).await.is_pending());
    set.add(Arc::clone(&b));
    assert_eq!(waiting.await.unwrap().worker().number, 2);
}

#[test]
fn no_request_is_lost_between_threads_that_pick_wait_and_replace() {
    const THREADS: u64 = 8;
    const REQUESTS: u64 = 2_000;
    let set = set(&[], usize::MAX);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let set = set.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for id in 0..REQUESTS {
                        let held = set.hold(about(number * REQUESTS + id)).await.unwrap();
                        assert!(held.worker().in_flight() > 0);
                    }
                });
            });
        }
        scope.spawn(|| {
            for round in 0..500 {
                let next = worker(round);
                set.add(Arc::clone(&next));
                thread::yield_now();
                match round % 3 {
                    0 => set.replace(&next, worker(round)),
                    1 => set.remove(&next),
                    _ => drop(next.died(Death::Killed(9))),
                }
                // For some time none is ready.
                for worker in set.workers() {
                    set.remove(&worker);
                }
            }
            set.add(worker(0));
        });
    });
    assert_eq!((set.in_flight(), set.waiting()), (0, 0));
}

#[test]
fn the_death_of_a_process_is_waited_for_and_that_one_lives_is_said_at_once() {
    // There is no runtime here: no clock has a part in it.
    let mut cx = Context::from_waker(Waker::noop());
    let mut command = Command::new("cat");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    let worker = Worker::new(1, child.id(), Some(process), "/nowhere".into(), 0);
    let fate = pin!(worker.fate());
    assert_eq!(fate.poll(&mut cx), Poll::Ready(None));
    child.kill().unwrap();
    child.wait().unwrap();
    // The same process in another set.
    let again = worker.again();
    let mut fate = pin!(again.fate());
    assert_eq!(fate.as_mut().poll(&mut cx), Poll::Pending);
    again.died(Death::Killed(9));
    let death = Some(&Death::Killed(9));
    assert_eq!(fate.poll(&mut cx), Poll::Ready(death));
}
