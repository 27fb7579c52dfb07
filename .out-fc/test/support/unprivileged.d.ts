/** Where in the run's temporary directory the copy of the program is that other accounts can read. */
export declare const PROGRAM_COPY = ".program";
export interface Account {
    readonly name: string;
    readonly uid: number;
    readonly gid: number;
}
/** The account of this process. */
export declare function self(): Account;
/** An account without privileges and with subordinate ids: this one, or for root the one test/setup.sh has made. */
export declare function ordinaryUser(): Account;
/** The accounts whole builds are tried as. */
export declare function accounts(): readonly Account[];
/** Directory of the built program as `account` may read it: the checkout, or a copy where that lies behind closed doors. */
export declare function programDir(account: Account): string;
