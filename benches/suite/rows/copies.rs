//! Random copies (row `copies`).

use super::{Row, run};
use crate::kinds::take_found;
use crate::reading::Readings;

pub(super) const ROW: Row = Row {
    name: "copies",
    title: "Random copies: the shape of FutureSDR's `null_rand`",
    how: "Case `PIPESxSTAGES`: as many pipes of as many blocks; each block copies samples (32-bit float) to \
          new buffers, a random number at a time, evenly from 1 to 512 or all that wait, until none wait. A source \
          gives 5 million samples a pipe, 8,192 a frame, as many as FutureSDR's buffers hold. Placed by Sidetone, \
          and in FutureSDR by its default scheduler. Taken: wall time from the first frame to the last sink's end, over the samples that \
          all blocks copied; every sink must have got them all.",
    cases: &["2x6", "5x6"],
    quick: &["2x6"],
    measure,
};

fn measure(case: &str, quick: bool) -> Result<Readings, String> {
    let shape = || format!("\"{case}\" is no number of pipes and stages, such as 2x6");
    let (pipes, stages) = case.split_once('x').ok_or_else(shape)?;
    let pipes: u64 = pipes.parse().map_err(|_| shape())?;
    let stages: u64 = stages.parse().map_err(|_| shape())?;
    let samples: u64 = if quick { 500_000 } else { 5_000_000 };

    let mut links = Vec::new();
    let mut nodes = String::new();
    for pipe in 0..pipes {
        let between: String = (0..stages).map(|stage| format!(" -> copy{pipe}_{stage}")).collect();
        links.push(format!("samples{pipe}{between} -> sink{pipe}"));
        nodes += &format!("samples{pipe} = {{ kind = \"bench.samples\", samples = {samples} }}\n");
        for stage in 0..stages {
            nodes += &format!("copy{pipe}_{stage} = {{ kind = \"bench.copy\", max_copy = 512 }}\n");
        }
        nodes += &format!("sink{pipe} = {{ kind = \"bench.samples_sink\" }}\n");
    }
    run(format!("# Bench.\nsidetone = 1\nlinks = {links:?}\n[nodes]\n{nodes}"), |_, _| {})?;
    let found = take_found();
    let (Some(begun), Some(ended)) = (found.source.0, found.sink.1) else {
        return Err("no sample came".to_owned());
    };
    let took = ended.at - begun.at;
    if found.delays != vec![samples; usize::try_from(pipes).unwrap_or(0)] {
        return Err(format!("of {samples} samples a pipe there came {:?}", found.delays));
    }
    let copied = (pipes * stages * samples) as f64;
    Ok(vec![("wall_ns_per_item", took.as_nanos() as f64 / copied), ("wall_s", took.as_secs_f64())])
}
