import Mocha from "mocha";
export default function reportAndCount(runner: Mocha.Runner, options: Mocha.MochaOptions): void;
