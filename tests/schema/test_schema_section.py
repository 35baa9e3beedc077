from plain_config import config

from kdlab.schema.section import identity_view


def test_identity_view_leaves_out_what_does_not_train():
    view = identity_view(config(data__cache_dir="somewhere").data)
    assert view == {"name": "tiny", "seed": 0, "spec": {"_target_": "tiny_data.tiny", "train": 60}}
