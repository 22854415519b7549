//! What a child writes, line by line.

use std::{
    collections::VecDeque,
    fmt, io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::net::unix::pipe;

/// How many bytes a line has at most; what is longer comes as several.
pub const LONGEST_LINE: usize = 16 << 10;

/// How many of the last lines are kept.
pub const KEPT_LINES: usize = 20;

/// A pipe holds 64 KiB, and no more than 1 MiB unless root has asked for it.
const PIECES_IN_A_PIPE: usize = 128;

/// Where a child has written something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// To its standard output.
    Output,
    /// To its standard error.
    Error,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "stdout",
            Self::Error => "stderr",
        })
    }
}

/// A line that a child has written, or at most [`LONGEST_LINE`] bytes of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where to.
    pub stream: Stream,
    /// The line, without its end; `U+FFFD` stands for what is not UTF-8.
    pub text: String,
}

/// Who gets the lines of a child: in the order in which it wrote them to each of its two streams, on
/// a task of the runtime that it was started on. A child that writes more than a pipe holds waits
/// for it, so it is not to take long, and it must not panic.
#[derive(Clone)]
pub struct Sink(Arc<dyn Fn(Line) + Send + Sync>);

impl Sink {
    /// Calls that for each line.
    pub fn new(each: impl Fn(Line) + Send + Sync + 'static) -> Self {
        Self(Arc::new(each))
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// The last lines of a child.
#[derive(Clone, Debug, Default)]
pub(super) struct Last(Arc<Mutex<VecDeque<Line>>>);

impl Last {
    fn push(&self, line: Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

/// Reads one of a child's streams.
#[derive(Debug)]
pub(super) struct Reader {
    /// `None`: nobody has its other end any more.
    pipe: Option<pipe::Receiver>,
    buffer: Box<[u8]>,
    splitter: Splitter,
    to: Receiver,
}

/// Who gets the lines of a stream.
#[derive(Debug)]
struct Receiver {
    stream: Stream,
    sink: Option<Sink>,
    last: Last,
}

impl Receiver {
    fn hand_on(&self, text: String) {
        let stream = self.stream;
        let line = Line { stream, text };
        self.last.push(line.clone());
        if let Some(Sink(each)) = &self.sink {
            each(line);
        }
    }
}

impl Reader {
    pub(super) fn new(
        end: OwnedFd,
        stream: Stream,
        sink: Option<Sink>,
        last: Last,
    ) -> io::Result<Self> {
        Ok(Self {
            pipe: Some(pipe::Receiver::from_owned_fd(end)?),
            buffer: vec![0; LONGEST_LINE].into_boxed_slice(),
            splitter: Splitter::default(),
            to: Receiver { stream, sink, last },
        })
    }

    /// Waits until there is something, and hands it on; for ever, once there never will be. May be
    /// given up at any time.
    pub(super) async fn more(&mut self) {
        let Some(pipe) = &self.pipe else {
            return std::future::pending().await;
        };
        let ready = pipe.readable().await;
        let read = ready.and_then(|()| pipe.try_read(&mut self.buffer));
        self.take(read);
    }

    /// The child has died: hands on all that it has left in the pipe, its last line, too, if that
    /// has no end. Others that it started may go on writing.
    pub(super) fn died(&mut self) {
        for _ in 0..PIECES_IN_A_PIPE {
            let Some(pipe) = &self.pipe else { return };
            // Not `try_read`, which reads nothing while the runtime has not heard of what came last,
            // and it may have heard of the death first.
            let read = rustix::io::read(pipe, &mut *self.buffer);
            if !self.take(read.map_err(io::Error::from)) {
                break;
            }
        }
        self.finish();
    }

    /// Hands on what is still written, until nobody can any more.
    pub(super) async fn rest(mut self) {
        while self.pipe.is_some() {
            self.more().await;
        }
    }

    /// Whether there may be more at once.
    fn take(&mut self, read: io::Result<usize>) -> bool {
        match read {
            Ok(count) if count > 0 => {
                let to = &self.to;
                self.splitter
                    .push(&self.buffer[..count], |text| to.hand_on(text));
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => {
                self.finish();
                self.pipe = None;
                false
            }
        }
    }

    fn finish(&mut self) {
        if let Some(text) = self.splitter.finish() {
            self.to.hand_on(text);
        }
    }
}

/// Makes lines of bytes.
#[derive(Debug, Default)]
struct Splitter(Vec<u8>);

impl Splitter {
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(String)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            self.0.extend_from_slice(text);
            while self.0.len() > LONGEST_LINE {
                let rest = self.0.split_off(end_of_char(&self.0[..LONGEST_LINE]));
                each(shown(&self.0));
                self.0 = rest;
            }
            if is_whole {
                each(shown(&self.0));
                self.0.clear();
            }
        }
    }

    /// What has no end yet, if there is anything.
    fn finish(&mut self) -> Option<String> {
        let text = (!self.0.is_empty()).then(|| shown(&self.0));
        self.0.clear();
        text
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where to cut so that no character is: at the end, or up to three bytes before it.
fn end_of_char(bytes: &[u8]) -> usize {
    let cut_off = (1..=3.min(bytes.len())).find(|back| {
        let rest = &bytes[bytes.len() - back..];
        std::str::from_utf8(rest)
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    });
    bytes.len() - cut_off.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: &[&str]) {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.push(piece, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        assert_eq!(lines, expected);
    }

    #[test]
    fn pieces_become_lines_wherever_they_are_cut() {
        check(&[b"a\nb\n"], &["a", "b"]);
        check(&[b"a", b"b\nc", b"\n", b"\n"], &["ab", "c", ""]);
        check(&[b"without an end"], &["without an end"]);
        check(&[b"", b"\n"], &[""]);
        check(&[b"caf\xc3", b"\xa9\n"], &["café"]);
        check(&[b"in\xffvalid\n"], &["in\u{fffd}valid"]);
        check(&[], &[]);
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_pieces() {
        let exact = "x".repeat(LONGEST_LINE);
        check(&[exact.as_bytes(), b"\n"], &[&exact]);
        check(&[exact.as_bytes(), b"y\n"], &[&exact, "y"]);
        let twice = exact.repeat(2);
        check(&[twice.as_bytes()], &[&exact, &exact]);
    }

    #[test]
    fn a_character_at_the_cut_stays_whole() {
        for (character, before) in [("é", 1), ("€", 1), ("€", 2), ("𝄞", 3), ("𝄞", 2), ("𝄞", 1)]
        {
            let head = "x".repeat(LONGEST_LINE - before);
            let line = format!("{head}{character}tail\n");
            check(&[line.as_bytes()], &[&head, &format!("{character}tail")]);
        }
        let head = "x".repeat(LONGEST_LINE - 2);
        let line = format!("{head}étail\n");
        check(&[line.as_bytes()], &[&format!("{head}é"), "tail"]);
    }

    #[test]
    fn what_is_no_text_at_all_is_cut_all_the_same() {
        let bytes = vec![0xf0; 3 * LONGEST_LINE + 1];
        let mut splitter = Splitter::default();
        let mut count = 0;
        splitter.push(&bytes, |line| count += line.chars().count());
        count += splitter.finish().map_or(0, |line| line.chars().count());
        assert_eq!(count, bytes.len());
    }
}
