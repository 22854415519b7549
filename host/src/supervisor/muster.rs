//! The task that has a crew: it keeps the workers alive, and ends them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

mod calls;
mod counts;
mod deaths;
mod ends;
mod entrances;
mod looks;
mod room;
mod size;
mod starts;
mod states;
mod stops;

pub(super) use states::AllHanded;

use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use counts::Counting;
use entrances::{Aside, Entrances};
use states::{Handing, Save, left_until};

use super::{
    Wish,
    backoff::Backoff,
    calls::{Calls, Due},
    crew::{Command, Plan},
    hand::{Asks, Hand, News},
    keeper::Keeper,
    wear::{self, Wear},
};
use crate::{
    channel::{Order, Report, Served},
    generation::Stops,
    id::AppName,
    loader::StopReason,
    reload::{LaunchError, StateAsk},
    workers::{Set, Worker},
};

/// The task's state.
pub(super) struct Muster {
    plan: Arc<Plan>,
    set: Set,
    /// Apps that are not given up yet.
    apps: HashSet<AppName>,
    places: Vec<Place>,
    /// How many places are to have a worker.
    size: u32,
    /// Workers that are not to be there any more, and are.
    ending: Vec<Living>,
    calls: Calls,
    /// Scheduled calls that wait for a worker.
    put_off: Vec<Due>,
    keeper: Keeper,
    /// States that workers were told to save, by the number of the call.
    saves: HashMap<u64, Save>,
    next_save: u64,
    /// Workers that have made way for who wants their state, by their serial numbers.
    handing: HashMap<u64, Handing>,
    /// Who waits for what one that ends will leave.
    heirs: Vec<StateAsk>,
    asks: Asks,
    asked: mpsc::UnboundedReceiver<StateAsk>,
    events: mpsc::UnboundedSender<Event>,
    received: mpsc::UnboundedReceiver<Event>,
    /// Comes when no worker is to be started any more.
    over: CancellationToken,
    /// Who waits until the last worker has ended, and of which app.
    waiting: Vec<(AppName, oneshot::Sender<Option<Stops>>)>,
    /// How apps have stopped so far, by their names.
    stops: HashMap<String, Stops>,
    /// Who waits until the worker of that number has.
    vacating: Vec<(u32, oneshot::Sender<()>)>,
    entrances: Entrances,
    counting: Counting,
}

/// A worker's place in the crew.
struct Place {
    number: u32,
    backoff: Backoff,
    living: Option<Living>,
    starting: bool,
    /// Ends the start that is under way.
    start: CancellationToken,
    /// It stays empty until somebody has it filled.
    vacant: bool,
    /// The next one starts when the one that ends is gone.
    awaits_end: bool,
    /// It was ended because nobody needed it, and comes with the next request.
    asleep: bool,
    /// Why the one that is there is to be replaced by the one that is being started.
    renewal: Option<StopReason>,
}

impl Place {
    fn empty(number: u32) -> Self {
        Self {
            number,
            backoff: Backoff::default(),
            living: None,
            starting: false,
            start: CancellationToken::new(),
            vacant: true,
            awaits_end: false,
            asleep: false,
            renewal: None,
        }
    }

    /// Whether a worker is there, or on its way without anything else to come.
    fn is_filled(&self) -> bool {
        self.living.is_some() || self.starting || self.awaits_end
    }
}

/// A worker that is there.
struct Living {
    serial: u64,
    worker: Arc<Worker>,
    ready: Instant,
    orders: mpsc::UnboundedSender<Order>,
    /// What it says of those who came to it itself, by apps' names.
    served: HashMap<String, Served>,
    aside: Aside,
    wear: Wear,
    /// The same, as it was in the set before.
    former: Vec<Arc<Worker>>,
    killed: CancellationToken,
}

enum Event {
    News {
        serial: u64,
        news: News,
    },
    /// An app that was removed has saved its state.
    Saved {
        app: AppName,
        done: oneshot::Sender<Option<Stops>>,
    },
    /// A worker that is to hand over its state has ended its requests.
    Unheld {
        serial: u64,
    },
    Started {
        number: u32,
        result: Result<Box<Hand>, LaunchError>,
    },
    /// Somebody connects where the group listens itself.
    Knocked,
}

impl Muster {
    pub(super) fn new(plan: Plan, set: Set, size: u32, hands: Vec<Hand>) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let apps = plan.members.iter().map(|it| it.name.clone()).collect();
        let places = (0..size).map(Place::empty).collect();
        let keeper = plan.keeper.clone();
        let mut muster = Self {
            plan: Arc::new(plan),
            set,
            apps,
            places,
            size,
            ending: Vec::new(),
            calls: Calls::default(),
            put_off: Vec::new(),
            keeper,
            saves: HashMap::new(),
            next_save: 0,
            handing: HashMap::new(),
            heirs: Vec::new(),
            asks,
            asked,
            events,
            received,
            over: CancellationToken::new(),
            waiting: Vec::new(),
            stops: HashMap::new(),
            vacating: Vec::new(),
            entrances: Entrances::default(),
            counting: Counting::default(),
        };
        for hand in hands {
            let number = hand.worker.number;
            let living = muster.employ(hand);
            let mut places = muster.places.iter_mut();
            if let Some(place) = places.find(|place| place.number == number) {
                place.vacant = false;
                place.living = Some(living);
            }
        }
        muster
    }

    /// Keeps the crew until its last app has left, or nobody has it any more.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut registry = self.plan.registry.clone();
        registry.mark_changed();
        let mut size = self.plan.size.wanted();
        size.mark_changed();
        let set = self.set.clone();
        let mut looks = tokio::time::interval(wear::interval(&self.plan.options));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv(), if !self.is_over() => match command {
                    Some(command) => self.command(command),
                    // It never came to serve.
                    None => self.stop(StopReason::Abandoned),
                },
                Some(event) = self.received.recv() => self.event(event),
                Some(ask) = self.asked.recv() => self.state_asked(ask),
                () = set.asked(), if !self.is_over() => self.wake(),
                Ok(()) = size.changed(), if !self.is_over() => {
                    let size = *size.borrow_and_update();
                    self.resize(size);
                }
                _ = looks.tick(), if !self.is_over() => self.look(),
                Ok(()) = registry.changed(), if !self.is_over() => {
                    let entries = registry.borrow_and_update().to_string();
                    self.tell_all(&Order::Registry(entries));
                }
            }
            self.tell_who_waits_for_room();
            if self.is_over() && self.is_alone() {
                break;
            }
        }
        let (kept, all_kept) = oneshot::channel();
        self.keeper.tell(kept);
        let _ = all_kept.await;
        for (app, waiting) in self.waiting {
            let _ = waiting.send(self.stops.remove(app.as_str()));
        }
        stops::tell(&self.plan, &self.stops);
    }

    fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    fn is_alone(&self) -> bool {
        let idle = |place: &Place| place.living.is_none() && !place.starting;
        self.ending.is_empty() && self.places.iter().all(idle)
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Announce { app, reason } => {
                let app = app.to_string();
                self.tell_all(&Order::Announce { app, reason });
            }
            Command::Leave { app, reason, done } => {
                self.apps.remove(&app);
                if self.apps.is_empty() {
                    self.waiting.push((app, done));
                    return self.stop(reason);
                }
                match reason {
                    StopReason::Removal => self.remove(app, done),
                    StopReason::Abandoned => self.leave(&app, done),
                    // Where the whole crew is given up, the last of its apps ends it.
                    _ => drop(done.send(None)),
                }
            }
            Command::RunSchedule { app, name, reply } => {
                self.run_schedule(Due { app, name, reply });
            }
            Command::SaveState {
                app,
                deadline,
                reply,
            } => self.save_all(&app, left_until(deadline), reply),
            Command::Resume { app } => {
                let app = app.to_string();
                self.tell_all(&Order::Resume { app });
            }
            Command::Vacate { number, done } => self.vacate(number, done),
            Command::Refill => self.refill(),
            Command::CountIn { app, tally } => self.count_in(&app, tally),
            Command::Count(done) => self.count(done),
            Command::Accept => self.open_entrances(),
            Command::StandAside(done) => self.shut_entrances(done),
        }
    }

    fn tell_all(&self, order: &Order) {
        let living = self.places.iter().filter_map(|place| place.living.as_ref());
        for living in living {
            let _ = living.orders.send(order.clone());
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::News {
                serial,
                news: News::Said(report),
            } => self.said(serial, report),
            Event::News {
                serial,
                news: News::Died(death),
            } => self.died(serial, death),
            Event::Saved { app, done } => self.leave(&app, done),
            Event::Unheld { serial } => self.unheld(serial),
            Event::Knocked => self.wake(),
            Event::Started { number, result } => self.started(number, result),
        }
    }

    fn said(&mut self, serial: u64, report: Report) {
        match report {
            Report::RanSchedule { call, error } => self.calls.close(call, error),
            Report::ReloadAsked { app } => {
                if let Some(path) = self.plan.path_of(&app) {
                    let _ = self.plan.wishes.send(Wish::Reload(path));
                }
            }
            Report::RestartAsked { app } => {
                if let Ok(app) = AppName::try_from(app.as_str()) {
                    let _ = self.plan.wishes.send(Wish::Restart(app));
                }
            }
            Report::AppStopped { app, report } => {
                self.stops.entry(app).or_default().add(report);
            }
            Report::Turned { turn } => {
                if let Some(at) = self.place_of(serial)
                    && let Some(living) = &mut self.places[at].living
                {
                    living.wear.turned(turn);
                }
            }
            Report::Served { call, apps } => self.served(serial, call, apps),
            Report::StoodAside { time } => self.stands_aside(serial, time),
            Report::Ending { reason } => self.leaves(serial, &reason),
            Report::SavedState { .. } | Report::StateLeft { .. } => {
                self.state_said(serial, report);
            }
            // Each of these comes before it is ready, or is heard where it is awaited.
            Report::Ready(_)
            | Report::Drained
            | Report::Refused { .. }
            | Report::StateWanted { .. } => {}
        }
    }

    /// Serves a worker that is ready.
    fn employ(&self, hand: Hand) -> Living {
        let (orders, ordered) = mpsc::unbounded_channel();
        let worker = Arc::clone(&hand.worker);
        let serial = worker.serial();
        let events = self.events.clone();
        let told = move |news| {
            let _ = events.send(Event::News { serial, news });
        };
        let killed = CancellationToken::new();
        let options = &self.plan.options;
        let (plan, is_killed) = (Arc::clone(&self.plan), killed.clone());
        tokio::spawn(async move { hand.run(ordered, told, is_killed, &plan).await });
        let now = Instant::now();
        Living {
            serial,
            worker,
            ready: now,
            orders,
            served: HashMap::new(),
            aside: Aside::default(),
            wear: Wear::new(options, now),
            former: Vec::new(),
            killed,
        }
    }

    fn place_of(&self, serial: u64) -> Option<usize> {
        let of = |place: &Place| place.living.as_ref().map(|living| living.serial);
        self.places
            .iter()
            .position(|place| of(place) == Some(serial))
    }
}
