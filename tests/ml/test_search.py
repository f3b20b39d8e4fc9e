"""What a search tries and keeps: settings that depend on seed and number alone, resumed studies, the refit."""

from __future__ import annotations

import json
import time

import optuna
import pytest
from optuna.trial import TrialState

from ml.data.augmentation import CELL_AUGMENTATION, Augmentation, augmentation_of
from ml.plan import Plan
from ml.search import Setting, best_setting, carried_over, make_study, reclaim, refit_plan, suggest


def settings(study: optuna.Study, count: int) -> list[dict]:
    study.optimize(lambda trial: _kept(trial), n_trials=count)
    return [trial.user_attrs["setting"] for trial in study.trials]


def _kept(trial: optuna.Trial) -> float:
    setting = suggest(trial)
    trial.set_user_attr("setting", setting.as_dict())
    return setting.dropout


def test_a_trial_draws_by_seed_and_number_whatever_process_runs_it(tmp_path):
    alone = settings(make_study("a", storage=None, seed=3), 4)
    url = f"sqlite:///{tmp_path}/study.sqlite3"
    for _ in range(2):  # each time as a process of its own would open it
        shared = settings(make_study("b", storage=url, seed=3), 2)
    assert shared == alone
    assert settings(make_study("c", storage=None, seed=4), 4) != alone
    assert len({json.dumps(setting) for setting in alone}) == 4


@pytest.mark.parametrize("search", ["random", "asha", "tpe"])
def test_every_search_proposes_settings_of_the_space(search):
    study = make_study(search, storage=None, search=search, seed=1)
    for found in settings(study, 14):
        setting = Setting.from_dict(json.loads(json.dumps(found)))
        assert setting.as_dict() == found
        assert 0 <= setting.dropout <= 0.6
        assert (setting.weight_decay == 0) == (setting.optimiser == "adam")
        assert 1e-4 <= setting.learning_rate <= 3e-3 * 30 * 3
    assert best_setting(study).dropout == study.best_value
    importances = optuna.importance.get_param_importances(study)
    assert set(importances) == set(study.trials[0].params), (
        "each parameter has one range, whatever the others are"
    )


def test_tpe_learns_where_it_is_good():
    values = [setting["dropout"] for setting in settings(make_study("t", storage=None, search="tpe"), 40)]
    assert sum(values[20:]) / 20 < sum(values[:10]) / 10


def test_what_a_dead_process_left_is_tried_again_once(tmp_path):
    url = f"sqlite:///{tmp_path}/study.sqlite3"
    study = make_study("s", storage=url, seed=2)
    running = study.ask()
    wanted = suggest(running)
    stopped = study.ask()
    suggest(stopped)
    stopped.set_user_attr("stopped", True)
    study.tell(stopped, state=TrialState.FAIL)

    again = make_study("s", storage=url, seed=2)
    assert reclaim(again) == 2
    assert reclaim(again) == 0
    assert not again.get_trials(states=(TrialState.RUNNING,))
    assert settings_of_waiting(again) == wanted


def settings_of_waiting(study: optuna.Study) -> Setting:
    return suggest(study.ask())


def test_a_shared_study_gives_a_dead_processs_trial_to_another(tmp_path):
    url = f"sqlite:///{tmp_path}/study.sqlite3"
    study = make_study("s", storage=url, heartbeat=1, grace=1)
    dead = study.ask()
    drawn = suggest(dead)
    study._storage.record_heartbeat(dead._trial_id)
    time.sleep(2.2)
    other = make_study("s", storage=url, heartbeat=1, grace=1)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        optuna.storages.fail_stale_trials(other)
    assert suggest(other.ask()) == drawn


def test_a_refit_goes_through_all_layers_reduced_first():
    setting = Setting(learning_rate=1e-3, optimiser="sgd", batch_size=16, augmentation=0.5, loss="focal")
    plan = refit_plan(setting, size=224, epochs=15, seed=4)
    assert [(stage.size, stage.epochs) for stage in plan.stages] == [(128, 5), (224, 10)]
    assert [stage.learning_rate for stage in plan.stages] == pytest.approx([1e-3, 4e-4])
    assert (plan.depth, plan.optimiser, plan.batch_size, plan.gamma, plan.seed) == ("all", "sgd", 16, 2.0, 4)
    assert plan.augmentation == Augmentation().scaled(0.5)
    assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
    assert [stage.epochs for stage in refit_plan(setting, epochs=1).stages] == [1]


def test_a_heads_rate_says_nothing_about_all_layers():
    setting = Setting(learning_rate=0.2, optimiser="sgd", depth="head", dropout=0.1)
    plan = refit_plan(setting)
    assert (plan.stages, plan.optimiser, plan.dropout) == (Plan().stages, "adamw", 0.1)
    assert "standing recipe" in carried_over(setting)
    assert "learning rate (times 0.4" in carried_over(Setting())


def test_an_older_plan_reads_with_the_defaults_of_what_it_lacks():
    stored = Plan().as_dict()
    for name in ("optimiser", "loss", "focal_gamma", "depth"):
        del stored[name]
    assert Plan.from_dict(stored) == Plan()


def test_augmentation_scales_from_mirrors_alone_to_half_as_much_again():
    base = Augmentation()
    assert base.scaled(1.0) == base
    assert base.scaled(1.5).hue == pytest.approx(1.5 * base.hue)
    assert Augmentation(jpeg_probability=0.9).scaled(1.5).jpeg_probability == 1.0
    nothing = base.scaled(0.0)
    assert nothing.rotation == nothing.density_gain == nothing.noise_probability == 0
    with pytest.raises(ValueError, match="0 or more"):
        base.scaled(-1)


def test_the_refit_of_a_task_follows_its_own_recipe():
    plan = refit_plan(Setting(augmentation=0.5), task="cell", size=128, epochs=10)
    assert [(stage.size, stage.epochs) for stage in plan.stages] == [(96, 6), (128, 4)]
    assert plan.augmentation == CELL_AUGMENTATION.scaled(0.5)
    assert augmentation_of("field") == Augmentation()
