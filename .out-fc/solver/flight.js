// Single flight: equal work asked for by several at once, of one build or of many in this process, happens once.
// Nothing is merged: each asker keeps its own graph and only waits for the same promise.
import { BuildError } from "./graph/error.js";
/** Events kept for who joins later. A step that says more loses its beginning for them only. */
const TOLD_MAX = 2_000;
/** Failures that speak of the asking side and not of the work: another asker may fare better. */
const OF_THE_SESSION = new Set([
    "CONTEXT_MISSING",
    "ENTITLEMENT_DENIED",
    "REGISTRY_DENIED",
    "SECRET_MISSING",
]);
/** No flights yet. */
export function openFlights() {
    const flights = new Map();
    function launch(key, owner, work) {
        const members = new Set([owner]);
        const controller = new AbortController();
        const told = [];
        const emit = (event) => {
            told.push(event);
            if (told.length > TOLD_MAX)
                told.splice(0, TOLD_MAX / 2);
            for (const member of members)
                member.context.emit(retold(event, owner.vertex, member.vertex));
        };
        const fly = async () => {
            try {
                const shared = await work({ signal: controller.signal, session: owner.context.session, emit });
                try {
                    for (const member of members)
                        member.landed(shared.value);
                }
                finally {
                    await shared.release();
                }
                return shared.value;
            }
            finally {
                flights.delete(key);
            }
        };
        const flight = { members, owner, controller, outcome: Promise.resolve().then(fly), told };
        flight.outcome.catch(() => { }); // members handle it; when all have left nobody wants to know
        flights.set(key, flight);
        return flight;
    }
    return {
        async share(key, member, work) {
            const { signal } = member.context;
            for (;;) {
                signal.throwIfAborted();
                let flight = flights.get(key);
                if (flight?.controller.signal.aborted) {
                    await flight.outcome.catch(() => { }); // given up by all, on its way down
                    continue;
                }
                const mine = flight === undefined;
                if (flight === undefined) {
                    flight = launch(key, member, work);
                }
                else {
                    flight.members.add(member);
                    for (const event of flight.told) {
                        member.context.emit(retold(event, flight.owner.vertex, member.vertex));
                    }
                }
                try {
                    return await staying(flight, member);
                }
                catch (error) {
                    signal.throwIfAborted();
                    if (mine || !mayFareBetter(flight, member, error))
                        throw error;
                }
            }
        },
    };
}
/** Is a failure of this flight none of the work itself, so that another asker should try on its own? */
function mayFareBetter(flight, member, error) {
    if (flight.owner.context.signal.aborted)
        return true; // its session may have gone under the work
    if (flight.owner.context.session === member.context.session)
        return false;
    return error instanceof BuildError && OF_THE_SESSION.has(error.code);
}
/** Waits with the others until the end, or leaves when the member's signal aborts. The last one out stops the work. */
async function staying(flight, member) {
    const { signal } = member.context;
    let leave = () => { };
    const left = new Promise((_resolve, reject) => {
        leave = () => {
            flight.members.delete(member);
            const goodbye = () => reject(signal.reason);
            if (flight.members.size > 0)
                return goodbye();
            flight.controller.abort(signal.reason);
            flight.outcome.then(goodbye, goodbye);
            return undefined;
        };
    });
    left.catch(() => { }); // when the work wins the race
    signal.addEventListener("abort", leave, { once: true });
    try {
        return await Promise.race([left, flight.outcome]);
    }
    finally {
        signal.removeEventListener("abort", leave);
    }
}
/** The event as another member should hear it: under its own name of the step. */
function retold(event, owner, member) {
    return "vertex" in event && event.vertex === owner && owner !== member
        ? { ...event, vertex: member }
        : event;
}
//# sourceMappingURL=flight.js.map