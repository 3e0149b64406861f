use std::process::ExitCode;

use turnout_loadgen::{load, options, report};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = match options::parse(&arguments) {
        Ok(options::Wanted::Plan(plan)) => plan,
        Ok(options::Wanted::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    match load::run(&plan) {
        Ok(found) => {
            println!("{}", report::as_json(&plan, &found));
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
