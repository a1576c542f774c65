import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipcli.images.budget import MemoryBudget


def test_images_in_flight_stay_within_the_limit() -> None:
    budget, most = MemoryBudget(), 0
    chance = random.Random(1)

    def work(amount: int) -> None:
        nonlocal most
        with budget.lease() as lease:
            lease.take(amount, 100)
            most = max(most, budget.used)
            time.sleep(0.0005)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [chance.randint(1, 100) for _ in range(300)]))
    assert 50 < most <= 100
    assert budget.used == 0


def test_what_is_larger_than_the_limit_goes_alone() -> None:
    budget = MemoryBudget()
    with budget.lease() as lease:
        lease.take(1000, 100)
        assert budget.used == 1000
    assert budget.used == 0


def test_a_large_image_is_not_overtaken_for_ever() -> None:
    budget, order = MemoryBudget(), []
    first_holds, release = threading.Event(), threading.Event()

    def first() -> None:
        with budget.lease() as lease:
            lease.take(60, 100)
            first_holds.set()
            release.wait(10)

    def then(name: str, amount: int) -> None:
        with budget.lease() as lease:
            lease.take(amount, 100)
            order.append(name)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    first_holds.wait(10)
    for count, (name, amount) in enumerate((("large", 90), ("small", 20)), start=1):
        threads.append(threading.Thread(target=then, args=(name, amount)))
        threads[-1].start()
        while budget.waiting < count:
            time.sleep(0.001)
    assert order == []  # the small one would fit, and waits for its turn
    release.set()
    for thread in threads:
        thread.join(10)
    assert order == ["large", "small"]


def test_memory_comes_back_whatever_happens() -> None:
    budget = MemoryBudget()
    with pytest.raises(ValueError), budget.lease() as lease:
        lease.take(60, 100)
        raise ValueError
    with pytest.raises(RuntimeError), budget.lease() as lease:
        lease.take(60, 100)
        lease.take(1, 100)
    assert budget.used == 0
