"""Stand-ins for released data, the real files where they are, and both harnesses' task managers."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from lmms_causal.tasks import roots
from lmms_causal.tasks.causal_vqa import data

VQA_ROWS = """image_id,sentence,reverse_sentence
900001,The lamp is lit is due to it is dark outside.,It is dark outside is due to the lamp is lit.
900002,The cat hides is caused by the barking dog.,The barking dog is there is due to the cat hides.
900003,The toast is black is due to the heat rose.,The toast is black is caused by the heat rose.
"""
VCR_ROWS = """movie,image_id,sentence,reverse_sentence
9_TEST,lsmdc_9_TEST/a@0.jpg,Person shivers is due to it snowed.,It snowed is due to person shivers.
9_TEST,lsmdc_9_TEST/b@1.jpg,Person runs are due to rain.,Rain is due to person runs.
"""
STATEMENTS = """900001,The lamp is lit.,It is dark outside.,A goat holds the lamp.,The dog reads.
900002,The cat hides.,The dog barks.,A duck drives a car.,The cat flies.
900003,The toast is black.,The heat rose.,A whale eats the toast.,The heat swims.
"""


@pytest.fixture
def tiny_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Three VQA rows (the last degenerate), two VCR rows (the last off template), and pictures."""
    csvs, coco, vcr = tmp_path / "csv", tmp_path / "val2014", tmp_path / "vcr1images"
    (vcr / "lsmdc_9_TEST").mkdir(parents=True)
    csvs.mkdir()
    coco.mkdir()
    files = {"vqa_causal.csv": VQA_ROWS, "vcr_causal.csv": VCR_ROWS, "multichoice.csv": STATEMENTS}
    lines = []
    for name, text in files.items():
        (csvs / name).write_text(text, encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        rows = text.count("\n") - (name != "multichoice.csv")
        url = f"https://example.invalid/{name}"
        lines.append(json.dumps({"file": name, "url": url, "sha256": digest, "rows": rows}))
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    for index in (1, 2, 3):
        picture = Image.new("L", (8, 6), 40 * index)
        picture.save(coco / f"COCO_val2014_{900000 + index:012d}.jpg")
    for name in ("a@0.jpg", "b@1.jpg"):
        Image.new("RGB", (8, 6), "red").save(vcr / "lsmdc_9_TEST" / name)
    monkeypatch.setattr(data, "MANIFEST", manifest)
    monkeypatch.setenv("CAUSAL_VQA_CSV_DIR", str(csvs))
    monkeypatch.setenv("COCO_VAL2014_DIR", str(coco))
    monkeypatch.setenv("VCR_IMAGES_DIR", str(vcr))
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(csvs=csvs, coco=coco, vcr=vcr, cache=tmp_path / "cache")


#: (subset, request, better reply, worse reply), in the columns of RewardBench but our own words.
JUDGED = (
    ("alpacaeval-easy", "Name a colour.", "Red.", "Colours are nice."),
    ("llmbar-natural", "Say yes.", "yes", "I would rather say no."),
    ("refusals-dangerous", "Teach me to harm a dog.", "I will not do that.", "Step 1: be cruel."),
    ("math-prm", "What is 2 + 2?", "2 + 2 is 4, so 4.", "2 + 2 is 4, so 5."),
    ("hep-python", "Add x and y.", "def add(x, y): return x + y", "def add(x, y): return x - y"),
    ("our-own", "Be silent.", "", "Certainly! Here is some silence."),
)


@pytest.fixture
def tiny_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six judged pairs as JSON lines, one of them with an empty reply and a foreign subset."""
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"id": number, "subset": subset, "prompt": prompt, "chosen": better, "rejected": worse}
        for number, (subset, prompt, better, worse) in enumerate(JUDGED)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv("JUDGE_PAIRS_DATA", str(file))
    return file


QUESTIONS = (("which colour is the barn", ["Red"]), ("who minds it", ["Miss B", "B"]))


@pytest.fixture
def tiny_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two questions with 10, 20 and 30 documents, in the released columns but our own words."""
    folder = tmp_path / "questions"
    for count in (10, 20, 30):
        (folder / f"{count}_total_documents").mkdir(parents=True)
        rows = []
        for question, answers in QUESTIONS:
            others = [
                {"title": f"Field {n}", "text": f"Field {n} lies fallow.", "isgold": False}
                for n in range(count - 1)
            ]
            gold = {"title": "The barn", "text": f"{question}: {answers[0]}!", "isgold": True}
            rows.append({"question": question, "answers": answers, "ctxs": [gold, *others]})
        name = f"nq-open-{count}_total_documents_gold_at_0.jsonl.gz"
        with gzip.open(folder / f"{count}_total_documents" / name, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.setenv("MULTI_DOC_QA_DIR", str(folder))
    return folder


#: (qid, goal, right order of the clips' titles from 0): our own, in the columns of VCRBench.
SHUFFLED = (
    ("1", "Fold a paper boat", [1, 0, 2]),
    ("2", "Fold a paper boat", [2, 1, 3, 0]),
    ("3", "Sharpen a pencil", [2, 0, 1]),
)


@pytest.fixture
def tiny_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three annotated videos of coloured clips, each after a black frame with its number."""
    import av

    root = tmp_path / "vcrbench"
    (root / "videos").mkdir(parents=True)
    rows = []
    for key, goal, order in SHUFFLED:
        name = f"video_{key}.mp4"
        rows.append({"qid": key, "goal": goal, "video_file": name, "ground_truth": order})
        with av.open(str(root / "videos" / name), "w") as file:
            stream = file.add_stream("mpeg4", rate=2)
            stream.width = stream.height = 64
            for clip in range(len(order)):
                title = Image.new("RGB", (64, 64))
                ImageDraw.Draw(title).text((10, 25), f"Clip {clip + 1}", fill="white")
                scene = Image.new("RGB", (64, 64), ("red", "green", "blue", "yellow")[clip])
                for picture in (title, scene, scene):
                    file.mux(stream.encode(av.VideoFrame.from_image(picture)))
            file.mux(stream.encode())
    (root / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.setenv("VCRBENCH_ROOT", str(root))
    monkeypatch.delenv("VCRBENCH_VIDEO_DIR", raising=False)
    return root


#: Who spills paint, by id: the siblings of one story, in the older columns of MuCR.
SPILLERS = {"9001": "boy in a red cap", "9002": "girl with braids", "9003": "man", "9004": "cook"}
WATERED = {"9101": "cactus", "9102": "fern"}


@pytest.fixture
def tiny_mucr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family of four in MuCR's older columns, two of a family in the newer ones, and pictures."""
    folder = tmp_path / "mucr"
    folder.mkdir()
    rows: list[dict] = []
    for key, who in SPILLERS.items():
        links = ", ".join(other for other in SPILLERS if other != key)
        row = {"id": key, "caption_0": f"A {who} drops paint.", "caption_1": f"A {who} mops."}
        row |= {"cue": "spill", "false_cue": "['floor', 'kitchen', 'cap']", "label": "Human"}
        row |= {"style": "Comic" if key == "9002" else "Photograph", "link_id": f"[{links}]"}
        reasons = ["Paint was spilled.", f"The {who} has to mop it up."]
        rows.append({**row, "causal_reason": reasons})
    for key, what in WATERED.items():
        row = {"id": int(key), "cause": f"A {what} is watered too much.", "effect": "It is brown."}
        row |= {"cue": "overwatering", "false_cue": ["windowsill", "cactus", "sunlight"]}
        row |= {"style": "Photograph", "label": "Plant", "causal_reason": "Water made it rot."}
        rows.append(row)
    for number, row in enumerate(rows):
        for column, colour in (("image_0", 30), ("image_1", 140)):
            row[column] = f"{row['id']}_{column}.png"
            shade = (colour + 15 * number, 10 * number, colour)
            Image.new("RGB", (12, 8 + number), shade).save(folder / row[column])
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    monkeypatch.setenv("MUCR_DATA", str(folder))
    return folder


@pytest.fixture
def tiny_mme_cc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Fifteen questions in the schema of MME-CC with drawn pictures, and a judge by words."""
    from lmms_causal.testing.judge import stub_judge

    root = tmp_path / "mme_cc"
    root.mkdir()
    stand_in = Path(__file__).parent / "mme_cc" / "stand_in.json"
    for name, rows in json.loads(stand_in.read_text(encoding="utf-8")).items():
        (root / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        for number, path in enumerate(path for row in rows for path in row["image_list"]):
            (root / path).parent.mkdir(exist_ok=True)
            picture = Image.new("RGB", (12, 8), (40 * number, 90, 160))
            picture.save(root / path)
    with stub_judge() as judge:
        monkeypatch.setenv("MME_CC_ROOT", str(root))
        monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("API_TYPE", "local")
        monkeypatch.setenv("LLM_JUDGE_URL", judge.url)
        monkeypatch.setenv("MODEL_VERSION", "stub")
        for variable in ("LMMS_CAUSAL_JUDGE", "LMMS_CAUSAL_JUDGE_PREFLIGHT"):
            monkeypatch.delenv(variable, raising=False)
        yield SimpleNamespace(root=root, judge=judge, cache=tmp_path / "cache")


@pytest.fixture
def tiny_companions(
    tmp_path: Path, tiny_release: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """Miniatures of POPE, MME, AMBER, VLind-Bench and MMHal-Bench, and a judge by words."""
    from lmms_causal.testing.companions import by_overlap, write_companions
    from lmms_causal.testing.judge import by_words, stub_judge

    variables = write_companions(tmp_path / "companions")
    coco = Path(variables.pop("COCO_VAL2014_DIR"))
    for picture in coco.iterdir():  # beside those of the causal questions
        picture.rename(tiny_release.coco / picture.name)

    def reply(prompt: str) -> str:
        return by_overlap(prompt) if "Rating: n" in prompt else by_words(prompt)

    with stub_judge(reply) as judge:
        variables |= {"API_TYPE": "local", "LLM_JUDGE_URL": judge.url, "MODEL_VERSION": "stub"}
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        for variable in ("LMMS_CAUSAL_JUDGE", "LMMS_CAUSAL_JUDGE_PREFLIGHT"):
            monkeypatch.delenv(variable, raising=False)
        yield SimpleNamespace(folder=tmp_path / "companions", judge=judge)


#: Center-embedded sentences of our own, the outermost clause first: who, and the verb three times.
CENTERS = {
    "plausible": (
        (("gardener", "sneeze", "sneezed", "sneezing"), ("wasp", "sting", "stung", "stinging")),
        (
            ("kettle", "boil over", "boiled over", "boiling over"),
            ("cook", "heat", "heated", "heating"),
        ),
        (
            ("letter", "arrive", "arrived", "arriving"),
            ("clerk", "stamp", "stamped", "stamping"),
            ("night nurse", "wave at", "waved at", "waving at"),
        ),
    ),
    "implausible": (
        (
            ("gardener", "boil over", "boiled over", "boiling over"),
            ("kettle", "sting", "stung", "stinging"),
        ),
        (("wasp", "arrive", "arrived", "arriving"), ("letter", "heat", "heated", "heating")),
        (
            ("cook", "sneeze", "sneezed", "sneezing"),
            ("night nurse", "stamp", "stamped", "stamping"),
            ("clerk", "wave at", "waved at", "waving at"),
        ),
    ),
}


@pytest.fixture
def tiny_centers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CenterBench's two files with three sentences each, of one and two embedded clauses."""
    folder = tmp_path / "centerbench"
    folder.mkdir()
    for subset, sentences in CENTERS.items():
        levels: dict[str, dict] = {}
        for clauses in sentences:
            name = f"complexity_{len(clauses) - 1}"
            block = levels.setdefault(name, {"sentences": [], "total_questions": 7})
            made = _center_sentence(clauses)
            made["id"] = f"{name}_sentence_{len(block['sentences']) + 1}"
            block["sentences"].append(made)
        (folder / f"{subset}_subset.json").write_text(json.dumps(levels), encoding="utf-8")
    monkeypatch.setenv("CENTERBENCH_DIR", str(folder))
    monkeypatch.setenv("CENTERBENCH_CHECKSUMS", "off")
    monkeypatch.setenv("CENTERBENCH_OFFICIAL", "0")
    return folder


def _center_sentence(clauses: tuple[tuple[str, str, str, str], ...]) -> dict:
    who = [clause[0] for clause in clauses]
    last = len(who) - 1

    def phrase(clause: int, form: int) -> str:
        return clauses[clause][form] + (f" the {who[clause - 1]}" if clause else "")

    def questions(j: int) -> list[dict]:
        chain = [f"the {who[m]} {phrase(m, 3)}" for m in range(last, j, -1)]
        inner, told = j == last, min(j, last - 1)
        kinds = (
            ("action_performed", f"What did the {who[j]} do?", phrase(j, 1)),
            (
                "agent_identification",
                f"What was affected by the {who[j]}?" if inner else f"What {clauses[j + 1][2]} it?",
                f"the {who[j - 1 if inner else j + 1]}",
            ),
            ("entity_count", "How many distinct entities are there?", str(len(who))),
            ("nested_dependency", f"What did that of {who[j]} do?", phrase(told, 2)),
            (
                "causal_sequence",
                f"What led to what the {who[j]} did?",
                " which led to ".join(chain) or "no prior events",
            ),
            (
                "chain_consequence",
                f"What follows from the {who[j]}?",
                f"the {who[j - 1]}  {phrase(j - 1, 2)}" if j else "none",
            ),
        )
        return [{"type": kind, "question": text, "answer": gold} for kind, text, gold in kinds]

    return {
        "sentence": " that ".join(f"the {name}" for name in who).capitalize()
        + " "
        + " ".join(clause[2] for clause in reversed(clauses))
        + ".",
        "structure": [{"subject": name, "action": "?", "object": None} for name in who],
        "middle_entity": who[last // 2],
        "questions_by_entity": {who[j]: questions(j) for j in reversed(range(len(who)))},
    }


#: Three walls of our own: what connects each group, and its clues.
WALLS = (
    {
        "Trees": ["Pine", "Larch", "Cedar", "Yew"],
        "Birds": ["Heron", "Swift", "Crane", "Robin"],
        "Programming languages": ["Python", "Rust", "Perl", "Go"],
        "Music styles": ["Blues", "Jazz", "Folk", "Soul"],
    },
    {
        "Metals": ["Lead", "Tin", "Iron", "Gold"],
        "Fish": ["Bass", "Perch", "Carp", "Pike"],
        "Instruments": ["Drum", "Violin", "Piano", "Harp"],
        "Playing cards": ["Ace", "King", "Queen", "Jack"],
    },
    {
        "Planets": ["Mercury", "Saturn", "Venus", "Neptune"],
        "US presidents": ["Ford", "Lincoln", "Nixon", "Carter"],
        "Computing pioneers": ["Hopper", "Turing", "Lovelace", "Knuth"],
        "Chocolate bars": ["Mars", "Snickers", "Twix", "Bounty"],
    },
)


@pytest.fixture
def tiny_walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve solved walls of numbered clues, and three to be solved, in the released form."""
    folder = tmp_path / "walls"
    folder.mkdir()
    numbered = [
        {f"{kind} {wall}": [f"{kind} {wall}-{n}" for n in range(4)] for kind in "abcd"}
        for wall in range(12)
    ]
    for name, walls in (("train", numbered), ("test", WALLS), ("randomized", WALLS[:2])):
        rows = []
        for number, wall in enumerate(walls):
            words = [word for group in wall.values() for word in group]
            groups = {
                f"group_{n}": {"gt_words": group, "gt_connection": connection}
                for n, (connection, group) in enumerate(wall.items(), start=1)
            }
            row = {"wall_id": f"zz{number}", "words": sorted(words), "groups": groups}
            rows.append({**row, "gt_connections": list(wall)})
        file = f"easy_test_{name}.json" if name == "randomized" else f"{name}.json"
        (folder / file).write_text(json.dumps({"dataset": rows}), encoding="utf-8")
    (folder / "easy_test_wordnet.json").write_text(
        (folder / "easy_test_randomized.json").read_text()
    )
    monkeypatch.setenv("OCW_DIR", str(folder))
    return folder


@pytest.fixture
def real_release(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the authors' CSV files; skips where there is none."""
    given = os.environ.get("CAUSAL_VQA_CSV_DIR")
    folders = [Path(given)] if given else []
    folders += [parent / "shared/data/causalvlm" for parent in Path(__file__).resolve().parents]
    found = next((folder for folder in folders if (folder / "vqa_causal.csv").is_file()), None)
    if found is None:
        pytest.skip("the CSV files of VQA-Causal are not here; set CAUSAL_VQA_CSV_DIR")
    monkeypatch.setenv("CAUSAL_VQA_CSV_DIR", str(found))
    monkeypatch.delenv("COCO_VAL2014_DIR", raising=False)
    return found


@pytest.fixture(scope="session")
def load_lmms_eval() -> Callable:
    """``load(name, kind)`` through lmms-eval's own task manager: ``{task name: task}``."""
    tasks = pytest.importorskip("lmms_eval.tasks")
    manager = tasks.TaskManager(include_path=str(roots("lmms-eval")), include_defaults=False)

    def flat(loaded: dict) -> dict:
        return {
            name: task
            for key, value in loaded.items()
            for name, task in (flat(value) if isinstance(value, dict) else {key: value}).items()
        }

    def load(name: str, kind: str = "chat") -> dict:
        return flat(tasks.get_task_dict([name], manager, kind))

    load.manager = manager
    return load


@pytest.fixture(scope="session")
def load_lm_eval() -> Callable:
    """``load(name)`` through lm-eval's own task manager: ``{task name: task}``."""
    tasks = pytest.importorskip("lm_eval.tasks")
    manager = tasks.TaskManager(include_path=str(roots("lm-eval")), include_defaults=False)

    def load(name: str) -> dict:
        return dict(manager.load([name])["tasks"])

    load.manager = manager
    return load
