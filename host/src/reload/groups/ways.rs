//! Who takes connections where a group listens itself.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::{
    generation::Crew,
    id::GroupName,
    reload::{Reloader, event::Event, status::Status},
};

impl Reloader {
    /// The crews that serve apps of a group.
    pub(in crate::reload) fn crews_of(&self, group: &GroupName) -> Vec<Arc<dyn Crew>> {
        let mut crews: Vec<Arc<dyn Crew>> = Vec::new();
        for slot in self.slots.values() {
            let live = slot.live.as_ref().map(|live| &live.lease);
            if let Some(seat) = live.and_then(|lease| lease.seat())
                && matches!(&slot.elsewhere, Some((of, _)) if of == group)
                && !crews.iter().any(|crew| Arc::ptr_eq(crew, &seat.crew))
            {
                crews.push(Arc::clone(&seat.crew));
            }
        }
        crews
    }

    /// Has a crew take connections itself, if it has come to serve, or those before it again.
    pub(in crate::reload) fn accept(&self, crew: &Arc<dyn Crew>, before: &[Arc<dyn Crew>]) {
        let mut live = self.slots.values().filter_map(|slot| slot.live.as_ref());
        let serves = live.any(|live| {
            let seat = live.lease.seat();
            seat.is_some_and(|seat| Arc::ptr_eq(&seat.crew, crew))
        });
        if serves || before.is_empty() {
            crew.accept();
        } else {
            before.iter().for_each(|crew| crew.accept());
        }
    }

    /// One of its apps takes requests again: so does a crew itself, unless another has come in its
    /// place, or is about to.
    pub(in crate::reload) fn accept_again(&self, group: &GroupName, crew: &Arc<dyn Crew>) {
        let mut crews = self.crews_of(group).into_iter();
        if !self.is_applied_aside() && crews.all(|it| Arc::ptr_eq(&it, crew)) {
            crew.accept();
        }
    }

    /// Somebody wants to know how it is: workers say first what they have answered themselves.
    pub(in crate::reload) fn status_asked(&self, reply: oneshot::Sender<Status>) {
        let live = self.slots.values().filter_map(|slot| slot.live.as_ref());
        let seats = live.filter_map(|live| live.lease.seat());
        let counting: Vec<_> = seats.filter_map(|seat| seat.crew.count()).collect();
        if counting.is_empty() {
            let _ = reply.send(self.status());
            return;
        }
        let sender = self.sender.clone();
        tokio::spawn(async move {
            join_all(counting).await;
            let _ = sender.send(Event::Counted(reply));
        });
    }
}
