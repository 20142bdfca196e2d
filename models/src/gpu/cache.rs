use crate::error::Result;
use undertone_kernels::MAX_FEW_ROWS;
use undertone_kernels::gpu::{Gpu, GpuError, Recorded};
use undertone_kernels::kv_append::gpu::{Filled, KvArrays};

/// Keys and values of a batch of sequences on a GPU, and the passes that were recorded over the first of them.
pub(crate) struct GpuCache {
    gpu: Gpu,
    /// Layers of each slot.
    slots: Vec<Vec<KvArrays>>,
    /// The slot each sequence has: a sequence that moves to another place takes its slot with it.
    slot_of: Vec<usize>,
    filled: Filled,
    steps: Steps,
}

/// Passes over 1 to [`MAX_FEW_ROWS`] tokens of the sequence in the first slot.
#[derive(Default)]
struct Steps {
    /// What else they work on: where a model's weights and another cache lie.
    with: (u64, u64),
    recorded: Vec<Recorded>,
}

impl GpuCache {
    pub(crate) fn new(
        gpu: &Gpu,
        layers: usize,
        batch: usize,
        (num_kv_heads, capacity, head_dim): (usize, usize, usize),
        quantized: bool,
    ) -> Result<GpuCache> {
        let layer = |_| KvArrays::new(gpu, (num_kv_heads, capacity, head_dim), quantized);
        let slot = |_| (0..layers).map(layer).collect::<Result<Vec<_>, GpuError>>();
        Ok(GpuCache {
            slots: (0..batch).map(slot).collect::<Result<_, GpuError>>()?,
            slot_of: (0..batch).collect(),
            filled: Filled::new(gpu)?,
            gpu: gpu.clone(),
            steps: Steps::default(),
        })
    }

    /// The same with room for `capacity` positions.
    pub(crate) fn like(&self, capacity: usize) -> Result<GpuCache> {
        let first = self.slots.first().and_then(|slot| slot.first());
        let ((heads, _, dim), quantized) =
            first.map_or(((1, 1, 2), false), |f| (f.shape(), f.is_quantized()));
        GpuCache::new(&self.gpu, self.layers(), self.slots.len(), (heads, capacity, dim), quantized)
    }

    pub(crate) fn layers(&self) -> usize {
        self.slots.first().map_or(0, Vec::len)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.iter().flatten().map(KvArrays::len_bytes).sum()
    }

    /// Where the first sequence's keys lie.
    pub(crate) fn address(&self) -> u64 {
        self.slots.first().and_then(|slot| slot.first()).map_or(0, KvArrays::address)
    }

    /// The layers of a sequence, and how many of its positions are filled.
    pub(crate) fn sequence(&mut self, n: usize) -> (&mut [KvArrays], &mut Filled) {
        (&mut self.slots[self.slot_of[n]], &mut self.filled)
    }

    /// As [`GpuCache::sequence`] of the first, to be read.
    pub(crate) fn first(&self) -> (&[KvArrays], &Filled) {
        (&self.slots[self.slot_of[0]], &self.filled)
    }

    /// Makes sequence `i` what sequence `from[i]` was. One of those that go on from the same keeps its slot, the others
    /// get copies in slots that nobody goes on from.
    pub(crate) fn reorder(&mut self, from: &[usize]) -> Result<(), GpuError> {
        let before = self.slot_of.clone();
        if from.len() > before.len() || from.iter().any(|parent| *parent >= before.len()) {
            return Err(GpuError::Shape(format!("sequences {from:?} of {}", before.len())));
        }
        let mut taken = vec![false; self.slots.len()];
        let mut after: Vec<Option<usize>> = vec![None; from.len()];
        for (to, parent) in after.iter_mut().zip(from) {
            let slot = before[*parent];
            if !std::mem::replace(&mut taken[slot], true) {
                *to = Some(slot);
            }
        }
        let mut free = (0..self.slots.len()).filter(|slot| !taken[*slot]).collect::<Vec<_>>().into_iter();
        let mut order = Vec::with_capacity(before.len());
        for (slot, parent) in after.iter().zip(from) {
            let source = before[*parent];
            order.push(match slot {
                Some(slot) => *slot,
                None => {
                    let slot =
                        free.next().ok_or_else(|| GpuError::Shape("more sequences than slots".into()))?;
                    let [to, source] = self
                        .slots
                        .get_disjoint_mut([slot, source])
                        .map_err(|e| GpuError::Shape(e.to_string()))?;
                    to.iter_mut().zip(source).try_for_each(|(to, from)| to.copy_from(from))?;
                    slot
                }
            });
        }
        order.extend(free);
        self.slot_of = order;
        Ok(())
    }

    /// Forgets which sequence is where.
    pub(crate) fn start_over(&mut self) {
        self.slot_of = (0..self.slots.len()).collect();
    }

    /// Copies the first `positions` of all sequences of `other`.
    pub(crate) fn copy_from(&mut self, other: &GpuCache, positions: usize) -> Result<(), GpuError> {
        for (to, from) in self.slot_of.iter().zip(&other.slot_of) {
            for (to, from) in self.slots[*to].iter_mut().zip(&other.slots[*from]) {
                to.copy_positions(from, positions)?;
            }
        }
        Ok(())
    }

    /// Runs the pass over `m` tokens of the first sequence behind which `end` positions are filled: recorded, with all the
    /// others of few tokens, when it is asked for first. `launch` launches that of a number of tokens; `with` is where
    /// lies what it works on besides this cache: what lies there stays while the recording does.
    pub(crate) fn step(
        &mut self,
        (m, end): (usize, usize),
        with: (u64, u64),
        mut launch: impl FnMut(usize, &mut [KvArrays], &Filled) -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        if self.slot_of[0] != 0 {
            self.filled.set(end)?;
            let (layers, filled) = self.sequence(0);
            return launch(m, layers, filled);
        }
        if self.steps.recorded.is_empty() || self.steps.with != with {
            let gpu = self.gpu.clone();
            let (slots, filled) = (&mut self.slots, &mut self.filled);
            let most = MAX_FEW_ROWS.min(slots[0].first().map_or(0, |l| l.shape().1));
            let step = |m: usize| {
                filled.expect(m);
                gpu.record(|| launch(m, &mut slots[0], filled))
            };
            self.steps = Steps { with, recorded: (1..=most).map(step).collect::<Result<_, GpuError>>()? };
        }
        self.filled.set(end)?;
        let step = self.steps.recorded.get(m - 1);
        let step = step.ok_or_else(|| GpuError::Shape(format!("no pass over {m} tokens is recorded")))?;
        step.replay()
    }
}
