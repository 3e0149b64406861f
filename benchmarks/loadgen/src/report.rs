//! What was found, as one line of JSON.

use std::fmt::Write;

use crate::load::Found;
use crate::options::Plan;

/// Return it; latencies and CPU in microseconds.
pub fn as_json(plan: &Plan, found: &Found) -> String {
    let tally = &found.tally;
    let seconds = found.measured.as_secs_f64();
    let per_call = |used: std::time::Duration| used.as_secs_f64() * 1e6 / tally.calls.max(1) as f64;
    let mut line = format!("{{\"answers_per_s\": {:.1}", tally.answers as f64 / seconds);
    let mut put = |text: std::fmt::Arguments| {
        let _ = line.write_fmt(text); // a string takes everything
    };
    put(format_args!(", \"seconds\": {seconds:.3}, \"calls\": {}, \"answers\": {}", tally.calls, tally.answers));
    put(format_args!(", \"callers\": {}", if plan.rate.is_some() { 0 } else { plan.callers }));
    if let Some(rate) = plan.rate {
        put(format_args!(", \"rate\": {rate}"));
    }
    put(format_args!(", \"connections\": {}, \"threads\": {}", plan.connections, plan.threads));
    let errors: Vec<String> = tally.errors.iter().map(|(code, count)| format!("\"{code}\": {count}")).collect();
    put(format_args!(", \"errors\": {{{}}}", errors.join(", ")));
    let latency = &tally.latency;
    put(format_args!(", \"latency_us\": {{\"count\": {}, \"mean\": {:.1}", latency.count(), latency.mean_us()));
    for (name, percent) in [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9)] {
        put(format_args!(", \"{name}\": {:.1}", latency.percentile_us(percent)));
    }
    put(format_args!(", \"max\": {:.1}}}", latency.most_us()));
    put(format_args!(", \"bytes\": {{\"sent\": {}, \"received\": {}}}", tally.sent, tally.received));
    if let Some(used) = found.server_cpu {
        put(format_args!(", \"server_cpu_us\": {:.2}", per_call(used)));
    }
    put(format_args!(", \"own_cpu_us\": {:.2}", per_call(found.own_cpu)));
    let share = found.own_cpu.as_secs_f64() / seconds / plan.threads as f64;
    put(format_args!(", \"own_cpu_share\": {share:.3}}}"));
    line
}
