import type { ExportJob } from "../keeper/messages.ts";
/** Writes the trees to job.dest: a tar file, or an existing directory. Throws SysError. */
export declare function runExportJob(job: ExportJob): null;
