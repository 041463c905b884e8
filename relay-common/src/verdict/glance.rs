//! The rules at a glance: the same verdicts for the commonest frames, on a shorter way.

use super::{Question, Reason, Tables, Verdict, decide, judge_read};
use crate::addr::Addr;
use crate::frame::{self, Frame, Look, Segment};

/// What is made of a frame whose verdict shows at a glance, or does not. A flood consists of frames that a
/// glance is enough for, and so does the traffic of other services.
pub trait See {
    /// What is made of it.
    type Answer;

    /// It is nothing for a guarded port, and passes.
    fn unrelated(&self) -> Self::Answer;

    /// It is of somebody whom the list clearly lacks, and dropped.
    fn stranger(&self, question: &Question) -> Self::Answer;

    /// The lists decide.
    fn open(&self, question: &Question) -> Self::Answer;

    /// The frame must be read.
    fn unclear(&self) -> Self::Answer;
}

/// Looks at `frame`.
#[inline(always)]
pub fn glance<F: Frame + ?Sized, T: Tables, S: See>(frame: &F, tables: &T, see: &S) -> S::Answer {
    frame::glance(frame, &Rules { tables, see })
}

struct Rules<'a, T, S> {
    tables: &'a T,
    see: &'a S,
}

impl<T: Tables, S: See> Look for Rules<'_, T, S> {
    type Answer = S::Answer;

    #[inline(always)]
    fn unclear(&self) -> S::Answer {
        self.see.unclear()
    }

    #[inline(always)]
    fn other(&self) -> S::Answer {
        self.see.unrelated()
    }

    #[inline(always)]
    fn tcp(&self, source: Addr, port: u16, segment: Segment) -> S::Answer {
        if !self.tables.guarded(port) {
            return self.see.unrelated();
        }
        let state = self.tables.state();
        if !state.is_strictest() {
            return self.see.unclear();
        }
        let question = Question::segment(source, port, segment, state);
        if !source.is_mapped() && self.tables.lacks(state, &source) {
            return self.see.stranger(&question);
        }
        self.see.open(&question)
    }
}

/// Returns what becomes of `frame`: at a glance, or else by reading it.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, T: Tables>(frame: &F, tables: &T) -> Verdict {
    glance(frame, tables, &Judge { frame, tables })
}

struct Judge<'a, F: ?Sized, T> {
    frame: &'a F,
    tables: &'a T,
}

impl<F: Frame + ?Sized, T: Tables> See for Judge<'_, F, T> {
    type Answer = Verdict;

    #[inline(always)]
    fn unrelated(&self) -> Verdict {
        Verdict::Pass(Reason::Unguarded)
    }

    #[inline(always)]
    fn stranger(&self, question: &Question) -> Verdict {
        Verdict::Drop(question.refusal())
    }

    #[inline(always)]
    fn open(&self, question: &Question) -> Verdict {
        decide(question, self.tables)
    }

    #[inline(always)]
    fn unclear(&self) -> Verdict {
        judge_read(self.frame, self.tables)
    }
}
