"""No key is lost and none is worked on twice at a time, in any order of events."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_operator.shell.queue import KeyedQueue

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add_after", "get", "done", "retry", "wait"]),
        st.sampled_from("abc"),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_every_event_is_followed_by_a_look(steps: list[tuple[str, str]]):
    asyncio.run(follow(steps))


async def follow(steps: list[tuple[str, str]]) -> None:
    now = 0.0
    queue: KeyedQueue[str] = KeyedQueue(lambda: now, lambda: 0.5)
    working: set[str] = set()
    owed: set[str] = set()  # added, and not looked at since

    async def take() -> str | None:
        try:
            return await asyncio.wait_for(queue.get(), 0.001)
        except TimeoutError:
            return None

    for step, key in steps:
        if step == "add":
            queue.add(key)
            owed.add(key)
        elif step == "add_after":
            queue.add_after(key, 1.0)
            owed.add(key)
        elif step == "get":
            found = await take()
            if found is not None:
                assert found not in working, "two at a time"
                working.add(found)
                owed.discard(found)
        elif step in {"done", "retry"} and key in working:
            working.discard(key)
            queue.done(key, None) if step == "done" else queue.retry(key)
            if step == "retry":
                owed.add(key)
        elif step == "wait":
            now += 1.0
    for key in working:
        queue.done(key, None)
    for _ in range(12):
        now += 30.0
        found = await take()
        if found is not None:
            owed.discard(found)
            queue.done(found, None)
    assert not owed
