//! Random walks, scripts, and the way back to health when faults have ended.

use quiver_replica::Rules;

use super::invariants::broken;
use super::state::{Bounds, NOW, State};
use super::world::Move;

/// Moves of one walk.
const WALK: u64 = 120;
/// Moves within which a healthy shard has all copies in sync again, and a write acknowledged.
const HEALING: u64 = 4_000;

/// Small, fast, and the same on every machine (xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// What walks found.
#[derive(Debug, Default)]
pub struct Walked {
    pub walks: u64,
    pub steps: u64,
    pub acked: u64,
    pub healed: u64,
    /// The invariant that was broken, and the moves up to there.
    pub broken: Option<(String, Vec<String>)>,
}

/// Walks at random until `steps` moves were made or something is broken. With `heal`, every walk ends in good weather, in
/// which the shard has to become healthy.
pub fn walk(bounds: &Bounds, seed: u64, steps: u64, heal: bool) -> Walked {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut walked = Walked::default();
    let mut moves = Vec::new();
    while walked.steps < steps {
        walked.walks += 1;
        let mut state = bounds.first();
        let mut trace = Vec::new();
        let length = if heal { dice.below(WALK as usize) as u64 } else { WALK };
        for _ in 0..length {
            moves.clear();
            state.moves(bounds, &mut moves);
            if moves.is_empty() {
                break;
            }
            let chosen = moves.swap_remove(dice.below(moves.len()));
            trace.push(chosen.clone());
            state.make(bounds, chosen);
            walked.steps += 1;
            if let Some(name) = broken(&state) {
                walked.broken = Some((name.to_owned(), trace.iter().map(Move::label).collect()));
                return walked;
            }
        }
        walked.acked += u64::from(!state.acked.is_empty());
        if heal && recoverable(&state) {
            if let Err(why) = heal_of(bounds, &mut state, &mut dice, &mut walked.steps) {
                walked.broken = Some((why, trace.iter().map(Move::label).collect()));
                return walked;
            }
            walked.healed += 1;
        }
    }
    walked
}

/// Whether a copy is left that has everything.
fn recoverable(state: &State) -> bool {
    state.nodes.iter().any(|n| state.record.in_sync(n.id()) && n.copy.unfit().is_none())
}

/// No fault any more, and room for everything.
fn good_weather(bounds: &Bounds) -> Bounds {
    Bounds {
        writes: 0,
        version: u64::MAX,
        term: u64::MAX,
        restarts: 0,
        wipes: 0,
        set_backs: 0,
        hand_overs: 0,
        store_set_backs: 0,
        net: 64,
        requests: 8,
        operator_removes: false,
        ..*bounds
    }
}

/// Lets the shard recover, in any order of moves, and write once more.
fn heal_of(bounds: &Bounds, state: &mut State, dice: &mut Dice, steps: &mut u64) -> Result<(), String> {
    let calm = good_weather(bounds);
    run_until(&calm, state, dice, steps, healthy).map_err(|why| format!("all in sync again: {why}"))?;
    if !recoverable(state) {
        return Ok(());
    }
    let leader = leader(state).ok_or("nobody leads")?;
    state.make(&calm, Move::Write(leader));
    run_until(&calm, state, dice, steps, written).map_err(|why| format!("one more write everywhere: {why}"))
}

fn run_until(
    calm: &Bounds,
    state: &mut State,
    dice: &mut Dice,
    steps: &mut u64,
    done: fn(&State) -> bool,
) -> Result<(), String> {
    let mut moves = Vec::new();
    for _ in 0..HEALING {
        // A request that was on its way may still have taken out the last copy that lives.
        if done(state) || !recoverable(state) {
            return Ok(());
        }
        moves.clear();
        state.moves(calm, &mut moves);
        let leaderless = state.node_of(state.record.primary).is_none();
        moves.retain(|m| match m {
            Move::Silent(..) | Move::OperatorRemoves(_) | Move::Drop(_) | Move::Compact(_) => false,
            // The operator promotes when the primary is gone, and removes what is gone for good.
            Move::Promote(_) => leaderless,
            // Grants run out where somebody waits for it.
            Move::Expire(i) => state.nodes[*i].copy.primary().is_some() || leaderless,
            _ => true,
        });
        moves.extend(gone(state));
        if moves.is_empty() {
            break;
        }
        let chosen = moves.swap_remove(dice.below(moves.len()));
        state.make(calm, chosen);
        *steps += 1;
        if let Some(name) = broken(state) {
            return Err(name.to_owned());
        }
    }
    if done(state) { Ok(()) } else { Err("it never happens".to_owned()) }
}

/// Copies whose disk exists no more: the operator takes them out, and lists what its pod has instead.
fn gone(state: &State) -> Vec<Move> {
    let record = &state.record;
    let lost = record.copies.iter().filter(|c| state.node_of(c.id).is_none());
    lost.filter(|c| c.in_sync && c.id != record.primary).map(|c| Move::OperatorRemoves(c.id)).collect()
}

/// The last write is acknowledged, and with it all logs are the same: what a copy had more was cut.
fn written(state: &State) -> bool {
    let log = &state.nodes[0].disk.synced;
    let acked = state.acked.iter().any(|(_, e)| e.value == state.writes);
    acked && state.nodes.iter().all(|n| n.disk.synced == *log)
}

/// The node that leads, and that the record says so of: an older primary may not have heard yet.
fn leader(state: &State) -> Option<usize> {
    let record = &state.record;
    state
        .nodes
        .iter()
        .position(|n| n.id() == record.primary && n.copy.term() == record.term && n.copy.leads(NOW))
}

fn healthy(state: &State) -> bool {
    let settled = state.requests.is_empty() && state.net.is_empty();
    let led = leader(state)
        .and_then(|i| state.nodes[i].copy.primary())
        .is_some_and(|p| p.pending.is_none() && p.hand_over.is_none());
    settled && led && state.nodes.iter().all(|n| state.record.in_sync(n.id()))
}

/// Makes the moves of a script, each named by the beginning of its label, and says what is broken at its end.
pub fn script(bounds: &Bounds, lines: &str) -> Option<&'static str> {
    let mut state = bounds.first();
    let mut moves = Vec::new();
    let lines: Vec<&str> = lines.split(',').map(str::trim).collect();
    for (i, line) in lines.iter().enumerate() {
        moves.clear();
        state.moves(bounds, &mut moves);
        let labels = || moves.iter().map(Move::label).collect::<Vec<_>>();
        let Some(chosen) = moves.iter().find(|m| m.label().starts_with(line)) else {
            // The last move may be what the rule prevents.
            let prevented = bounds.rules == Rules::default() && i + 1 == lines.len();
            assert!(prevented, "no `{line}` among {:?}", labels());
            return None;
        };
        state.make(bounds, chosen.clone());
        if let Some(name) = broken(&state) {
            return Some(name);
        }
    }
    None
}
