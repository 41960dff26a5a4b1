"""Pictures: found, decoded, or refused with the file and the document named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageFile

from lmms_causal.errors import UserError
from lmms_causal.tasks import catalogue
from lmms_causal.tasks.causal_vqa import images
from lmms_causal.tasks.causal_vqa.documents import build


def test_a_picture_is_decoded_to_rgb_and_shared_while_in_use(
    tiny_release: SimpleNamespace,
) -> None:
    first, second = build("vqa_causal_mc")[:2]
    picture = images.open_image(first)
    assert (picture.mode, picture.size) == ("RGB", (8, 6))
    assert images.open_image(second) is picture


@pytest.mark.parametrize("tolerated", [False, True])
def test_a_corrupt_picture_is_named_with_its_document(
    tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tolerated: bool
) -> None:
    """Also where the process tolerates truncated pictures, as it does under lmms-eval."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerated)
    doc = build("vqa_causal_mc")[2]
    path = images.image_path(doc)
    big = Image.effect_noise((64, 64), 50)
    big.save(path)
    path.write_bytes(path.read_bytes()[:-600])  # cut off inside the pixels
    with pytest.raises(UserError, match=f"{path.name}.*document vqa-1-because"):
        images.open_image(doc)
    path.write_text("not a picture")
    with pytest.raises(UserError, match=f"{path.name}.*document vqa-1-because"):
        images.open_image(doc)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerated


@pytest.mark.parametrize(
    "variable, task", [("COCO_VAL2014_DIR", "vqa_causal_mc"), ("VCR_IMAGES_DIR", "vcr_causal_mc")]
)
def test_a_missing_folder_names_its_variable(
    tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, variable: str, task: str
) -> None:
    monkeypatch.setenv(variable, "/no/such/folder")
    with pytest.raises(UserError, match=f"{variable}=/no/such/folder"):
        build(task)


def test_a_folder_that_lacks_a_file_is_refused_before_the_run(
    tiny_release: SimpleNamespace,
) -> None:
    (tiny_release.vcr / "lsmdc_9_TEST/b@1.jpg").unlink()
    with pytest.raises(UserError, match=r"1 image files .*b@1\.jpg.*document vcr-1-because"):
        build("vcr_causal_mc")
    assert build("vcr_causal_blind")  # needs no pictures


def test_vcr_without_a_folder_explains_the_licence(
    tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VCR_IMAGES_DIR")
    with pytest.raises(UserError, match=r"VCR_IMAGES_DIR.*licence.*visualcommonsense\.com"):
        catalogue.check(["causal_vqa_all"])
    catalogue.check(["causal_vqa", "causal_vqa_blind", "mme"])


def test_coco_pictures_are_fetched_only_when_needed_and_some_ahead(
    tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(url: str, target: Path, **options: object) -> Path:
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tiny_release.coco / target.name).read_bytes())
        return target

    monkeypatch.setattr(images, "fetch", fetch)
    monkeypatch.setattr(images, "READ_AHEAD", 2)
    monkeypatch.delenv("COCO_VAL2014_DIR")
    docs = build("vqa_causal_mc")
    assert asked == []
    images.open_image(docs[0])
    base = "http://images.cocodataset.org/val2014/COCO_val2014_"
    assert sorted(asked) == [f"{base}000000900001.jpg", f"{base}000000900002.jpg"]
    images.open_image(docs[2])
    assert len(asked) == 2
    (line,) = catalogue.fetch_all("causal_vqa", progress=False)
    assert "3 pictures" in line and len(asked) == 3
    catalogue.fetch_all("causal_vqa", progress=False)
    assert len(asked) == 3


def test_another_documents_missing_picture_does_not_stop_this_one(
    tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, target: Path, **options: object) -> Path:
        if "900002" in url:
            raise UserError("gone")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tiny_release.coco / target.name).read_bytes())
        return target

    monkeypatch.setattr(images, "fetch", fetch)
    monkeypatch.delenv("COCO_VAL2014_DIR")
    docs = build("vqa_causal_mc")
    assert images.open_image(docs[0]).size == (8, 6)
    with pytest.raises(UserError, match="gone"):
        images.open_image(docs[2])


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(UserError, match=r"did you mean .*causal_vqa"):
        catalogue.members("causal_vqaa")
    assert catalogue.members("causal_vqa_all") == ("vqa_causal_mc", "vcr_causal_mc")
    assert catalogue.fetch_all("causal_vqa_mini_order") == ["causal_vqa_mini_order: needs no data"]
