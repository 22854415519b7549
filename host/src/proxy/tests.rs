mod rig;

mod hang_ups;
mod heads;
mod limits;
mod lost;
mod streams;
mod trunks;
mod tunnels;
