"""`on="inline"`: the tests of the contract whose work ends by itself, on one worker."""

import pytest

from rxpool import WorkerPool
from tests.conformance.lanes import Lane
from tests.conformance.test_batches import (  # noqa: F401
    test_a_batch_is_one_task,
    test_a_result_may_be_an_exception,
    test_another_number_of_results,
    test_batches_of_one,
    test_bisect_finds_the_bad_item,
    test_results_of_items,
    test_without_bisect_the_whole_batch_fails,
)
from tests.conformance.test_bounds import (  # noqa: F401
    test_the_books_add_up_at_every_instant,
)
from tests.conformance.test_calls import (  # noqa: F401
    test_submit,
    test_the_result_of_an_observable_is_a_list,
)
from tests.conformance.test_cancel import (  # noqa: F401
    test_dispose_from_within,
    test_take,
)
from tests.conformance.test_chains import (  # noqa: F401
    test_a_chain_keeps_the_order_of_its_keys,
    test_a_failure_ends_the_chain,
    test_a_merge_of_two_flows,
    test_a_subscriber_feeds_another_flow,
    test_a_subscriber_feeds_its_own_flow,
    test_five_maps,
    test_map_batch_map,
    test_merged_flows_do_not_stop_one_another,
    test_two_flows_of_one_source,
    test_two_maps_on_one_worker,
)
from tests.conformance.test_end import (  # noqa: F401
    test_an_unused_pool_ends,
    test_close_cuts_an_endless_source,
    test_results_that_were_done_are_delivered_first,
    test_work_is_refused_afterwards,
)
from tests.conformance.test_limits import (  # noqa: F401
    test_limits_that_are_kept_change_nothing,
    test_waiting_is_not_running,
)
from tests.conformance.test_map_worker import (  # noqa: F401
    test_an_item_that_fails,
    test_items_and_batches,
    test_terminate,
)
from tests.conformance.test_metrics import (  # noqa: F401
    test_every_item_is_told_once,
)
from tests.conformance.test_order import (  # noqa: F401
    test_a_key_that_cannot_be_told_is_a_failure,
    test_input_order_with_failures,
    test_keys_with_many_items,
)
from tests.conformance.test_outcomes import (  # noqa: F401
    test_a_source_that_fails_after_500_items,
    test_an_iterable_that_fails_after_500_items,
    test_an_observable_that_fails_gives_its_results_first,
    test_an_observer_is_given_failures,
    test_none_is_a_result,
    test_nothing_in_nothing_out,
    test_raise_ends_the_stream_with_the_first_failure,
    test_results,
    test_results_of_observables_come_one_by_one,
    test_skip_leaves_failures_out,
    test_the_outcome_of_an_observable_is_a_list,
    test_whatever_an_observable_fails_with_is_the_failure_of_its_item,
    test_whatever_is_raised_is_the_failure_of_its_item,
    test_work_tells_how_far_it_is,
)
from tests.conformance.test_policies import (  # noqa: F401
    test_a_breaker_opens,
    test_a_limit_a_breaker_and_a_journal_together,
    test_a_worker_is_free_while_another_item_waits,
    test_attempts_until_one_is_good,
    test_no_attempt_beyond_the_policy,
)
from tests.conformance.test_pull import (  # noqa: F401
    test_an_empty_iterable,
    test_dispose_stops_the_reading,
    test_it_can_be_subscribed_twice,
)
from tests.conformance.test_switch import (  # noqa: F401
    test_switch_map_gives_each_result_in_time,
    test_switch_map_whatever_the_durations,
)


class InlineLane(Lane):
    """No threads: whoever brings an item runs it, one after another."""

    def make(self, workers, **options):
        """A pool; it has one worker, however many a test asks for."""
        return WorkerPool(1, on="inline", **options)


@pytest.fixture(name="lane")
def _lane(tmp_path):
    lane = InlineLane("inline", tmp_path)
    yield lane
    lane.end()
