"""Collections as they lie on people's disks: each is prepared as a user would, and read right."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from pulmonet.cli.main import main
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from pulmonet.errors import DataError
from small_dataset import smooth_image, write_dicom, write_text

EDGES = ["xmin", "ymin", "xmax", "ymax"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def pictures(shared_data: Path) -> list[np.ndarray]:
    """Sixteen real X-rays of 96 pixels a side."""
    paths = sorted((shared_data / "nih-cxr" / "valid").rglob("*.jpg"))[:16]
    return [cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (96, 96)) for path in paths]


def write_images(root: Path, names: Sequence[str], pictures: list[np.ndarray]) -> None:
    """One picture a name; DICOM, PNG or JPEG by its ending."""
    for name, picture in zip(names, pictures, strict=False):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".dcm"):
            write_dicom(root / name, picture)
        else:
            cv2.imwrite(str(root / name), picture)


def prepared(root: Path, *flags: str) -> tuple[Manifest, dict[str, Any]]:
    """What `prepare` made of a folder, which it must accept, and its report."""
    out = root.parent / f"{root.name}-prepared"
    assert main(["prepare", str(root), "--out-dir", str(out), *flags]) == 0
    return read_manifest(root), json.loads((out / "prepare_report.json").read_text())


def boxes_of(root: Path) -> pd.DataFrame:
    return pd.read_csv(root.parent / f"{root.name}-prepared" / "boxes.csv")


def table_of(manifest: Manifest) -> pd.DataFrame:
    return manifest.table.set_index("path")


def test_brax(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "brax"
    names = [f"images/id_{n}/Study_{n}.1/Series_1/image-{n}.png" for n in range(4)]
    write_text(
        root / "master_spreadsheet_update.csv",
        ",DicomPath,PngPath,PatientID,PatientSex,PatientAge,AccessionNumber,StudyDate,No Finding,"
        "Cardiomegaly,Edema,Support Devices,ViewPosition,Rows,Columns,Manufacturer\n"
        + "".join(
            f"{n},Anonymized_DICOMs/id_{n}/image-{n}.dcm,{name},id_{n},{'FM'[n % 2]},0{n + 50}Y,"
            f"acc{n},20100101,{n % 2},{1 - n % 2},-1,,{view},96,96,Philips\n"
            for n, (name, view) in enumerate(zip(names, ("PA", "AP", "L", "AP LLD"), strict=True))
        ),
    )
    write_images(root, names, pictures)
    manifest, report = prepared(root)
    assert report["dataset"]["source"] == "brax"
    assert manifest.labels == ("No Finding", "Cardiomegaly", "Edema", "Support Devices")
    table = table_of(manifest)
    assert table["patient"].tolist() == ["id_0", "id_1", "id_2", "id_3"]
    assert table["view"].tolist() == ["PA", "AP", "LATERAL", "AP"]
    assert table["sex"].tolist() == ["Female", "Male", "Female", "Male"]
    assert table["age_years"].tolist() == [50, 51, 52, 53]
    assert table.loc[names[0], ["No Finding", "Cardiomegaly", "Edema"]].tolist() == [0, 1, -1]


def test_rsna_pneumonia(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "rsna"
    ids = [f"0004cfab-14fd-{n}" for n in range(5)]
    write_text(
        root / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\n"
        + "".join(f"{name},,,,,0\n" for name in ids[:3])
        + f"{ids[3]},256.0,128.0,512.0,256.0,1\n{ids[3]},0.0,0.0,1024.0,512.0,1\n"
        + f"{ids[4]},1000.0,0.0,512.0,64.0,1\n",
    )
    write_text(
        root / "stage_2_detailed_class_info.csv",
        f"patientId,class\n{ids[0]},Normal\n{ids[1]},No Lung Opacity / Not Normal\n"
        f"{ids[2]},normal\n"
        f"{ids[3]},Lung Opacity\n{ids[3]},Lung Opacity\n{ids[4]},Lung Opacity\n",
    )
    write_images(root, [f"stage_2_train_images/{name}.dcm" for name in ids], pictures)
    manifest, report = prepared(root)
    assert report["dataset"]["source"] == "rsna"
    assert manifest.labels == ("Pneumonia", "Lung Opacity", "No Finding")
    assert manifest.table["patient"].tolist() == ids
    assert manifest.raw_labels(manifest.labels).tolist() == [
        *([0, 0, 1], [0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 0])
    ]
    boxes = boxes_of(root)  # in pixels of originals of 1024 pixels, whatever lies there
    assert boxes["Path"].tolist() == [f"stage_2_train_images/{ids[3]}.dcm"] * 2
    assert set(boxes["label"]) == {"Pneumonia"}
    assert boxes[EDGES].to_numpy().tolist() == [[0.25, 0.125, 0.75, 0.375], [0, 0, 1, 0.5]]
    assert len(report["warnings"]) == 1
    assert "stage_2_train_labels.csv: 1 wrong box (line 7) left out" in report["warnings"][0]


def test_siim_pneumothorax(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "siim"
    ids = [f"1.2.276.0.7230010.3.1.4.8323329.{n}.1517875" for n in range(5)]
    # columns 512 and 513, rows 256 to 511; and a run that goes on in the next column
    mask = f"{512 * 1024 + 256} 256 768 256"
    write_text(
        root / "train-rle.csv",
        "ImageId, EncodedPixels\n"
        f"{ids[0]}, -1\n{ids[1]},{mask}\n{ids[1]}, 1000 100\n{ids[2]}, -1\n{ids[3]}, -1\n"
        f"{ids[4]},\n",
    )
    write_images(root, [f"dicom-images-train/1.{n}/2.{n}/{n}.dcm" for n in ids], pictures)
    manifest, report = prepared(root)
    assert report["dataset"]["source"] == "siim" and not manifest.patients_known
    assert manifest.labels == ("Pneumothorax",)
    np.testing.assert_array_equal(manifest.table["Pneumothorax"], [0, 1, 0, 0, np.nan])
    boxes = boxes_of(root)
    expected = [[0.5, 0.25, 514 / 1024, 0.5], [0, 0, 2 / 1024, 1]]
    np.testing.assert_allclose(boxes[EDGES].to_numpy(), expected, atol=1e-5)
    assert set(boxes["label"]) == {"Pneumothorax"}


def test_ranzcr_catheters(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "ranzcr"
    uids = [f"1.2.826.0.1.3680043.8.498.2669762895{n}" for n in range(5)]
    write_text(
        root / "train.csv",
        "StudyInstanceUID,ETT - Abnormal,CVC - Normal,Swan Ganz Catheter Present,PatientID\n"
        + "".join(f"{uid},{n % 2},{1 - n % 2},{n // 4},ec{n // 2}\n" for n, uid in enumerate(uids)),
    )
    write_images(root, [f"train/{uid}.jpg" for uid in uids], pictures)
    manifest, report = prepared(root)
    assert report["dataset"]["source"] == "ranzcr"
    assert manifest.labels == ("ETT - Abnormal", "CVC - Normal", "Swan Ganz Catheter Present")
    assert manifest.table["path"].tolist() == [f"train/{uid}.jpg" for uid in uids]
    assert manifest.table["patient"].tolist() == ["ec0", "ec0", "ec1", "ec1", "ec2"]


def test_open_i_of_kaggle(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "indiana"
    names = [f"{uid}_IM-000{uid}-{n}001.dcm.png" for uid in range(4) for n in (1, 2)]
    write_text(
        root / "indiana_projections.csv",
        "uid,filename,projection\n"
        + "".join(
            f"{name[0]},{name},{('Frontal', 'Lateral')[n % 2]}\n" for n, name in enumerate(names)
        ),
    )
    write_text(
        root / "indiana_reports.csv",
        "uid,MeSH,Problems,image,findings\n0,x,normal,Xray,x\n"
        '1,x,Cardiomegaly;Pulmonary Atelectasis,"Chest, 2 views",x\n'
        "2.0,x,No Indexing,Xray,x\n3 ,x,Pleural Effusion;Granuloma,Xray,x\n",
    )
    write_images(root / "images" / "images_normalized", names, pictures)
    manifest, report = prepared(root)
    assert report["dataset"]["source"] == "openi"
    assert manifest.labels == (
        *("Atelectasis", "Cardiomegaly", "Granuloma", "No Finding", "Pleural Effusion"),
    )
    values = manifest.raw_labels(manifest.labels)
    assert values[0].tolist() == values[1].tolist() == [0, 0, 0, 1, 0]
    assert values[2].tolist() == [1, 1, 0, 0, 0]
    assert np.isnan(values[4:6]).all()  # not indexed: nothing is known
    assert values[6].tolist() == [0, 0, 1, 0, 1]
    assert manifest.table["view"].tolist() == ["FRONTAL", "LATERAL"] * 4
    assert manifest.table["patient"].tolist() == [name[0] for name in names]
    write_text(root / "indiana_reports.csv", "uid,Problems\n90,normal\n")
    with pytest.raises(DataError, match=r"none of the 8 ids of column 'uid'; take all tables of"):
        read_manifest(root)


def test_covid_chestxray(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "covid"
    write_text(
        root / "metadata.csv",
        "patientid,offset,sex,age,finding,view,modality,folder,filename,clinical_notes\n"
        '2,0,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.jpeg,"a, ""b""\nc"\n'
        "2,3,M,65,Pneumonia/Viral/COVID-19,AP Supine,X-ray,images,b.jpeg,\n"
        "4,0,F,,No Finding,L,X-ray,images,c,\n"
        "5,0,F,40,todo,PA,X-ray,images,d.png,\n"
        "6,0,F,40,Pneumonia/Bacterial,AP Erect,X-ray,images,e.jpg,\n"
        "7,0,M,70,Pneumonia/Viral/COVID-19,Axial,CT,volumes,f.nii.gz,\n"
        "8,0,M,70,Unknown,PA,X-ray,images,g.jpg,\n"
        '9,0,M,70,"COVID-19, ARDS",PA,X-ray,images,h.jpg,\n',
    )
    names = [f"images/{name}" for name in ("a.jpeg", "b.jpeg", "c.jpg", "d.png", "e.jpg", "g.jpg")]
    names.append("images/h.jpg")
    write_images(root, names, pictures)
    manifest, report = prepared(root)
    assert report["dataset"]["source"] == "covid-chestxray"
    assert manifest.table["path"].tolist() == names
    assert manifest.labels == ("ARDS", "Bacterial", "COVID-19", "No Finding", "Pneumonia", "Viral")
    values = manifest.raw_labels(manifest.labels)
    assert values[0].tolist() == [0, 0, 1, 0, 1, 1]
    assert values[6].tolist() == [1, 0, 1, 0, 0, 0]
    assert np.isnan(values[[3, 5]]).all()
    assert manifest.table["view"].tolist() == ["PA", "AP", "LATERAL", "PA", "AP", "PA", "PA"]
    assert manifest.table["patient"].tolist() == ["2", "2", "4", "5", "6", "8", "9"]
    assert any("metadata.csv: 1 row of CT left out" in note for note in report["notes"])


def test_folders_of_classes_with_splits(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "chest_xray"
    names = [
        *("train/NORMAL/IM-0115-0001.jpeg", "train/NORMAL/NORMAL2-IM-0117-0001.jpeg"),
        *("train/PNEUMONIA/person100_virus_184.jpeg", "train/PNEUMONIA/person7_bacteria_28.jpeg"),
        *("train/PNEUMONIA/person7_bacteria_29.jpeg", "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg"),
        *("val/NORMAL/NORMAL2-IM-1427-0001.jpeg", "val/PNEUMONIA/person1946_bacteria_4874.jpeg"),
        *("test/NORMAL/IM-0001-0001.jpeg", "test/NORMAL/x-ray of somebody.jpeg"),
        "test/PNEUMONIA/person100_bacteria_475.jpeg",  # not the person 100 of the viruses
    ]
    write_images(root, names, pictures)
    (root / "train" / "NORMAL" / "._IM-0115-0001.jpeg").write_bytes(b"Mac")
    (root / "train" / ".DS_Store").write_bytes(b"Mac")
    manifest, report = prepared(root)
    assert report["dataset"]["source"] == "folders"
    assert manifest.labels == ("No Finding", "Pneumonia") and manifest.patients_known
    table = table_of(manifest).loc[names]
    assert table["split"].tolist() == ["train"] * 6 + ["valid"] * 2 + ["test"] * 3
    assert table["Pneumonia"].tolist() == [0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 1]
    assert table["No Finding"].tolist() == [1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 0]
    assert table["patient"].tolist() == [
        *("im-0115", "normal2-im-0117", "person100_virus", "person7_bacteria", "person7_bacteria"),
        *("bacteria-1008087", "normal2-im-1427", "person1946_bacteria", "im-0001"),
        *("test/NORMAL/x-ray of somebody.jpeg", "person100_bacteria"),
    ]


def test_folders_of_classes_without_splits(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    """As the COVID-19 Radiography Database: masks lie beside the images of each class."""
    root = tmp_path / "radiography"
    images = [
        *(f"COVID/images/COVID-{n}.png" for n in range(3)),
        *(f"Normal/images/Normal-{n}.png" for n in range(3)),
        *(f"Viral Pneumonia/images/Viral Pneumonia-{n}.png" for n in range(3)),
    ]
    write_images(root, images, pictures)
    write_images(root, [name.replace("images", "masks") for name in images], pictures)
    manifest, _ = prepared(root)
    assert manifest.table["path"].tolist() == images and not manifest.patients_known
    assert manifest.labels == ("COVID", "No Finding", "Viral Pneumonia")
    assert manifest.raw_labels(manifest.labels).tolist() == np.repeat(np.eye(3), 3, 0).tolist()


def test_images_beside_the_folders_of_classes_are_named(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    read = [f"train/{kind}/0000001{n}_00{n}.png" for kind in ("Edema", "NORMAL") for n in (0, 1)]
    others = ["extra/NORMAL/a.png", "train/NORMAL/more/b.png", "train/masks/c.png"]
    write_images(tmp_path, [*read, *others], pictures)
    manifest, report = prepared(tmp_path)
    assert manifest.table["path"].tolist() == read
    assert manifest.table["patient"].tolist() == ["00000010", "00000011"] * 2  # in NIH's names
    text = "2 images in other folders not read (extra/NORMAL/a.png, train/NORMAL/more/b.png)"
    assert text in report["notes"]


@pytest.mark.parametrize(
    "names",
    [
        ["images/a.png", "masks/a.png"],
        ["train/patient1/a.png", "train/patient2/b.png", "valid/patient3/c.png"],
        ["NORMAL/readme.txt", "PNEUMONIA/readme.txt"],
        ["images_001/images/a.png", "images_002/images/b.png"],
    ],
)
def test_folders_that_are_no_classes(tmp_path: Path, names: list[str]) -> None:
    root = tmp_path / "x"
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        if name.endswith("png"):
            cv2.imwrite(str(root / name), smooth_image(number))
    assert main(["prepare", str(root)]) == 3


def test_classes_of_any_name_below_train_and_test(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    root = tmp_path / "x"
    folders = ("train/a", "train/b", "test/a", "test/b")
    names = [f"{folder}/{n}.png" for folder in folders for n in range(2)]
    write_images(root, names, pictures)
    manifest, _ = prepared(root)
    assert manifest.labels == ("a", "b") and len(manifest) == 8


KAGGLE = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"


def kaggle_vindr(root: Path, pictures: list[np.ndarray], boxes: Sequence[str]) -> list[str]:
    """VinBigData's table beside resized pictures of four images, the first two with boxes."""
    lines = [*boxes, "c,No finding,14,R1,,,,", "d,No finding,14,R1,,,,"]
    write_text(root / "train.csv", "\n".join([KAGGLE, *lines, ""]))
    names = [f"train/{name}.png" for name in "abcd"]
    write_images(root, names, pictures)
    return names


def test_boxes_of_resized_pictures_are_scaled_by_their_originals(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    root = tmp_path / "vindr"
    boxes = ["a,Cardiomegaly,3,R1,30,40,60,80", "b,Nodule/Mass,8,R1,1000,1000,2000,2500"]
    kaggle_vindr(root, pictures, boxes)
    write_text(root / "train_meta.csv", "image_id,dim0,dim1\na,200,100\nb,3000,2000\nc,1,1\n")
    _, report = prepared(root)
    assert report["warnings"] == []
    expected = [[0.3, 0.2, 0.6, 0.4], [0.5, 1 / 3, 1, 2500 / 3000]]
    np.testing.assert_allclose(boxes_of(root)[EDGES].to_numpy(), expected, atol=1e-5)


def test_boxes_of_resized_pictures_are_left_out_where_the_originals_size_is_unknown(
    tmp_path: Path, pictures: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "vindr"
    boxes = ["a,Cardiomegaly,3,R1,30,40,60,80", "b,Nodule/Mass,8,R1,1000,1000,2000,2500"]
    kaggle_vindr(root, pictures, boxes)  # the first fits by chance, and is as wrong
    _, report = prepared(root)
    assert len(report["warnings"]) == 1
    assert "train.csv: 2 boxes left out: 1 reach beyond their picture" in report["warnings"][0]
    assert "train_meta.csv" in report["warnings"][0]
    assert not (root.parent / "vindr-prepared" / "boxes.csv").exists()
    assert "2 boxes left out" in " ".join(capsys.readouterr().err.split())


def test_sizes_of_originals_may_stand_in_the_table_itself(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    root = tmp_path / "vindr"
    names = kaggle_vindr(root, pictures, [])
    write_text(
        root / "train.csv",
        f"{KAGGLE},width,height\na,Cardiomegaly,3,R1,30,40,60,80,100,200\n"
        "b,No finding,14,R1,,,,,100,200\nc,No finding,14,R1,,,,,100,200\n"
        "d,Cardiomegaly,3,R1,90,100,120,120,100,200\n",
    )
    _, report = prepared(root)
    boxes = boxes_of(root)
    assert boxes["Path"].tolist() == names[:1]
    assert boxes[EDGES].to_numpy().tolist() == [[0.3, 0.2, 0.6, 0.4]]
    assert "train.csv: 1 wrong box (line 5) left out" in report["warnings"][0]


def test_boxes_of_left_out_images_are_left_out(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "vindr"
    names = kaggle_vindr(
        root, pictures, ["a,Cardiomegaly,3,R1,30,40,60,80", "b,Nodule/Mass,8,R1,9,9,48,96"]
    )
    (root / names[0]).unlink()
    _, report = prepared(root, "--skip-bad")
    boxes = boxes_of(root)
    assert boxes["Path"].tolist() == names[1:2]
    assert len(report["bad_images"]) == 1


def test_a_file_without_boxes_is_a_warning(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    root = tmp_path / "ranzcr"
    write_text(
        root / "train.csv",
        "StudyInstanceUID,CVC - Normal,PatientID\n0,0,p0\n1,1,p1\n2,0,p2\n3,1,p3\n",
    )
    write_images(root, [f"train/{n}.jpg" for n in range(4)], pictures)
    write_text(root / "boxes.csv", "image,x,y\n1,2,3\n")
    _, report = prepared(root)
    assert any(text.startswith("no boxes: ") for text in report["warnings"])
    assert any("boxes.csv: no column 'Path'" in text for text in report["warnings"])


def test_what_nobody_knows_is_named_with_the_map_that_reads_it(
    tmp_path: Path, pictures: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    write_text(
        root / "labels.csv",
        "nr,image_id,subject_id,diagnosis,gender\n"
        + "".join(f"{n},x{n},p{n},{('edema;mass', 'normal')[n % 2]},F\n" for n in range(4)),
    )
    write_images(root, [f"pngs/x{n}.png" for n in range(4)], pictures)
    assert main(["prepare", str(root)]) == 3
    said = capsys.readouterr().err
    assert "labels.csv, 4 images in pngs" in said
    line = "--map csv=labels.csv --map path=image_id"
    assert line in said
    for pair in ("findings=diagnosis", "'separator=;'", "sex=gender"):
        assert f"--map {pair}" in said


def test_a_train_csv_of_another_layout_is_named_with_its_map(
    tmp_path: Path, pictures: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    """As abhishek's PNGs of SIIM's challenge on Kaggle."""
    root = tmp_path / "siim"
    write_text(root / "train.csv", "ImageId,target\n1.2.0,0\n1.2.1,1\n1.2.2,1\n1.2.3,0\n")
    write_images(root, [f"train_png/1.2.{n}.png" for n in range(4)], pictures)
    assert main(["prepare", str(root)]) == 3
    said = capsys.readouterr().err
    assert "train.csv: no column 'Path'" in said and "4 images in train_png" in said
    assert "to read it: --map path=ImageId --map patient=COLUMN" in said
    flags = ("--map", "path=ImageId", "--map", "patient=ImageId")
    assert main(["prepare", str(root), *flags]) == 0


def test_a_table_in_a_folder_beside_the_images_is_mapped(
    tmp_path: Path, pictures: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    rows = "".join(f"x{n}.png,p{n},{n % 2}\n" for n in range(4))
    write_text(root / "tables" / "all.csv", f"image,pid,edema\n{rows}")
    write_images(root, [f"pngs/x{n}.png" for n in range(4)], pictures)
    assert main(["prepare", str(root)]) == 3
    flags = ("--map", "csv=tables/all.csv", "--map", "path=image", "--map", "patient=pid")
    assert " ".join(flags) in capsys.readouterr().err
    manifest, _ = prepared(root, *flags)
    assert manifest.table["path"].tolist() == [f"pngs/x{n}.png" for n in range(4)]


def test_images_without_a_table_are_counted(
    tmp_path: Path, pictures: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    write_images(root, ["a/1.png", "a/2.png", "3.jpg"], pictures)
    assert main(["prepare", str(root)]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "2 images in a" in said and "1 image in ." in said
    assert "no table" in said and "train/NORMAL/x.jpeg" in said


def test_tables_of_an_unknown_folder_are_those_that_are_read(
    tmp_path: Path, pictures: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    """A packed table is one, what macOS leaves beside it is none."""
    root = tmp_path / "mine"
    write_images(root, [f"{n}.png" for n in range(4)], pictures)
    lines = [f"{n}.png,p{n},{n % 2}\n" for n in range(4)]
    with zipfile.ZipFile(root / "labels.csv.zip", "w") as archive:
        archive.writestr("labels.csv", "".join(["FileName,Who,Edema\n", *lines]))
    write_text(root / "._labels.csv", "Mac OS X")
    assert main(["prepare", str(root)]) == 3
    said = capsys.readouterr().err
    assert "found labels.csv.zip, 4 images in ." in said
    assert "to read it: --map csv=labels.csv.zip --map path=FileName" in said
    flags = ("csv=labels.csv.zip", "path=FileName", "patient=Who")
    assert main(["prepare", str(root), *(part for one in flags for part in ("--map", one))]) == 0
