"""What is drawn is what was given, pixel for pixel or line for line, and the same bytes every time."""

import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from anila.density.targets import rings
from anila.evaluation.likelihood import Grid
from anila.evaluation.pictures import (
    image_grid,
    neighbours_grid,
    odd_rows,
    plane_panel,
    sampler_comparison,
    save,
    training_curves,
    trajectories,
)
from anila.evaluation.pictures.curves import running_mean
from anila.rng import rng

FRAME = Grid((-5.0, -5.0), (5.0, 5.0), side=60)
RINGS = rings()


def panel(seed: int = 0) -> Figure:
    return plane_panel(RINGS.draw(200, rng(seed, "data")), RINGS.draw(100, rng(seed, "model")), RINGS, FRAME, "rings")


class TestOddRows:
    WORDS = ("Mönchengladbach-Rheydt", "W" * 200, "1234567.891234", "$x_1$ costs $2", "Oslo", "a\nb")

    def drawn(self, columns: int) -> Figure:
        """Three odd rows of long words, in so many columns."""
        values = [[self.WORDS[(i + j) % 6] for j in range(columns)] for i in range(3)]
        likely = [[self.WORDS[(i + 2 * j) % 6] if (i + j) % 3 else "" for j in range(columns)] for i in range(3)]
        names = [f"measurements_of_{2000 + i}.csv[{31 + i}]" for i in range(3)]
        share = np.full((3, columns), 1 / columns)
        return odd_rows(names, [self.WORDS[j % 6] for j in range(columns)], values, likely, share, [8334.0, -1e-5, 1.0])

    @pytest.mark.parametrize("columns", [1, 3, 8])
    def test_no_text_leaves_its_cell(self, columns: int):
        """Sees long words that run over their neighbours, or out of the picture."""
        figure = self.drawn(columns)
        figure.dpi = 200
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)
        across = figure.axes[0].transData.transform([[k, 0] for k in range(columns + 1)])[:, 0]
        for box in boxes:
            assert not ((box.x0 < across - 2) & (across + 2 < box.x1)).any()

    def test_a_row_keeps_its_number_and_a_word_that_fits_is_whole(self):
        """Sees names cut where they say which row it is, and words cut that need not be."""
        wide, narrow = ([text.get_text() for text in self.drawn(n).axes[0].texts] for n in (2, 8))
        assert sum(text.endswith(".csv[31]") for text in narrow) == 1
        assert "Mönchengladbach-Rheydt" in wide
        assert "Mönchengladbach-Rheydt" not in narrow
        assert {"Oslo", r"a\nb"} <= set(narrow)
        assert "$x_1$ costs $2" in wide


def bytes_of(picture: Figure | Image.Image, folder: Path) -> bytes:
    save(picture, folder / "picture.png")
    return (folder / "picture.png").read_bytes()


def random_bytes(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, generator=rng(0, "pixels"), dtype=torch.uint8)


def lightness_at(figure: Figure, panel: int, points: list[tuple[float, float]]) -> list[int]:
    """Green of the pixels at these points of a panel, 0 dark and 255 light."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = np.asarray(canvas.buffer_rgba())
    columns, rows = figure.axes[panel].transData.transform(points).astype(int).T
    return page[len(page) - 1 - rows, columns, 1].tolist()


class TestSave:
    def test_equal_arguments_give_equal_bytes_whatever_the_settings(self, tmp_path: Path):
        first = bytes_of(panel(), tmp_path)
        with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "savefig.bbox": "tight"}):
            assert bytes_of(panel(), tmp_path) == first
        assert bytes_of(panel(seed=1), tmp_path) != first

    def test_settings_are_left_alone(self, tmp_path: Path):
        before = dict(matplotlib.rcParams)
        save(panel(), tmp_path / "panel.png")
        assert dict(matplotlib.rcParams) == before

    def test_a_failure_leaves_the_old_picture_and_nothing_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        old = bytes_of(image_grid(torch.zeros(1, 1, 8, 8)), tmp_path)
        broken = panel()

        def savefig(png, **_):
            png.write(b"half a")
            raise OSError("disk")

        monkeypatch.setattr(broken, "savefig", savefig)
        with pytest.raises(OSError, match="disk"):
            save(broken, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes() == old
        assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]

    def test_the_old_picture_stays_until_the_new_one_is_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        old = bytes_of(image_grid(torch.zeros(1, 1, 8, 8)), tmp_path)

        def replace(*_):
            raise OSError("killed here")

        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(OSError, match="killed here"):
            save(image_grid(torch.ones(1, 1, 8, 8)), tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes() == old

    def test_figures_are_1800_dots_wide(self, tmp_path: Path):
        save(panel(), tmp_path / "panel.png")
        with Image.open(tmp_path / "panel.png") as image:
            assert image.size[0] == 1800


class TestImages:
    @pytest.mark.parametrize(("channels", "size", "scale"), [(1, 28, 3), (3, 32, 2), (3, 64, 1), (1, 100, 1)])
    def test_every_pixel_comes_back(self, channels: int, size: int, scale: int, tmp_path: Path):
        stored = random_bytes(7, channels, size, size)
        save(image_grid(stored / 127.5 - 1, columns=3), tmp_path / "grid.png")
        with Image.open(tmp_path / "grid.png") as image:
            page = np.asarray(image)
        pitch = size * scale + 2
        assert page.shape == (3 * pitch + 2, 3 * pitch + 2, 3)
        for k in range(7):
            top, left = 2 + k // 3 * pitch, 2 + k % 3 * pitch
            for dy, dx in np.ndindex(scale, scale):
                read = page[top + dy : top + size * scale : scale, left + dx : left + size * scale : scale]
                assert (read == stored[k].permute(1, 2, 0).numpy()).all()

    def test_the_gutter_and_the_empty_places_are_white(self):
        page = np.asarray(image_grid(torch.full((3, 1, 64, 64), -1.0)))
        assert page.shape == (134, 134, 3)
        assert int((page == 0).all(2).sum()) == 3 * 64 * 64
        assert int((page == 255).all(2).sum()) == 134**2 - 3 * 64 * 64

    def test_values_beyond_the_range_are_cut_off(self):
        page = np.asarray(image_grid(torch.tensor([-5.0, 5.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2)))
        assert (page[30, 10].tolist(), page[30, 50].tolist()) == ([0, 0, 0], [255, 255, 255])

    def test_samples_are_above_their_neighbours(self):
        samples = torch.linspace(-1, 0, 13).view(13, 1, 1, 1).expand(13, 1, 64, 64)
        page = np.asarray(neighbours_grid(samples, samples + 1))
        left = page.shape[1] - (10 * 66 + 2) + 34
        rows = page[[34, 68 + 34, 136 + 20 + 34, 136 + 20 + 68 + 34], left::66, 0]
        expected = ((torch.cat([samples, samples + 1])[:, 0, 0, 0] + 1) * 127.5).round().to(torch.uint8)
        assert rows[:2].reshape(-1).tolist() == [*expected[:10].tolist(), *expected[13:23].tolist()]
        assert rows[2:, :3].reshape(-1).tolist() == [*expected[10:13].tolist(), *expected[23:].tolist()]

    def test_what_is_not_an_image_is_refused(self):
        with pytest.raises(ValueError, match="c 1 or 3"):
            image_grid(torch.zeros(1, 2, 8, 8))
        with pytest.raises(ValueError, match="n >= 1"):
            neighbours_grid(torch.zeros(0, 1, 8, 8), torch.zeros(0, 1, 8, 8))
        with pytest.raises(ValueError, match="1 of 2 hold NaN"):
            image_grid(torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), math.nan)]))
        with pytest.raises(ValueError, match="one image for each"):
            neighbours_grid(torch.zeros(3, 1, 8, 8), torch.zeros(2, 1, 8, 8))


class TestPlane:
    def test_the_mass_is_drawn_where_f_has_it(self):
        peak = torch.tensor([2.0, -3.0])
        figure = plane_panel(peak[None], peak[None], lambda x: -(x - peak).square().sum(1), FRAME)
        density, energy = (lightness_at(figure, panel, [(2, -3), (2, 3), (-3, 2), (-2, -3)]) for panel in (2, 3))
        assert density[0] < 60
        assert density[1:] == [255, 255, 255]
        assert energy[0] < 60
        assert min(energy[1:]) > 240

    def test_energies_are_cut_off_at_12_nats(self):
        figure = plane_panel(torch.zeros(2, 2), torch.zeros(2, 2), lambda x: -50 * x.square().sum(1), FRAME)
        energy = np.asarray(figure.axes[3].images[0].get_array())
        assert (energy.min(), energy.max()) == (0.0, 12.0)

    def test_points_are_those_given_and_lost_ones_are_counted(self):
        x_data, x_model = torch.zeros(5, 2), torch.tensor([[1.0, 2.0], [9.0, 0.0], [math.nan, 0.0]])
        figure = plane_panel(x_data, x_model, RINGS, FRAME)
        assert np.ma.getdata(figure.axes[1].collections[0].get_offsets())[0].tolist() == [1.0, 2.0]
        assert "5 data points · 3 chains, 2 outside the frame" in figure.get_supxlabel()

    def test_a_flat_f_is_drawn_without_contours(self, tmp_path: Path):
        figure = plane_panel(torch.zeros(2, 2), torch.zeros(2, 2), lambda x: 0 * x[:, 0], FRAME)
        save(figure, tmp_path / "flat.png")
        assert not figure.axes[3].collections

    def test_paths_are_those_of_the_chains(self, tmp_path: Path):
        x_kept = torch.randn(20, 6, 2, generator=rng(0, "chains"))
        figure = trajectories(x_kept, RINGS, FRAME)
        paths = [line.get_xydata() for line in figure.axes[0].lines if len(np.asarray(line.get_xydata())) == 20]
        assert len(paths) == 4
        assert np.allclose(np.stack(paths, 1), x_kept[:, :4])
        assert np.allclose(np.ma.getdata(figure.axes[0].collections[-1].get_offsets()), x_kept[-1])
        save(figure, tmp_path / "paths.png")


class TestCurves:
    def test_known_quantities_are_drawn_and_unmeasured_iterations_left_out(self, tmp_path: Path):
        kl = [3.0, math.nan, 1.0, math.nan]
        figure = training_curves(
            {"iteration": [0, 10, 20, 30], "grad_norm": [1.0, 2.0, 3.0, 2.0], "kl": kl, "x": [1.0]}
        )
        assert len(figure.axes) == 2
        assert np.asarray(figure.axes[1].lines[0].get_xydata()).tolist() == [[0.0, 3.0], [20.0, 1.0]]
        assert [ax.get_yscale() for ax in figure.axes] == ["log", "log"]
        save(figure, tmp_path / "curves.png")

    @pytest.mark.parametrize(("top", "scale"), [(0.5, "linear"), (1e7, "symlog")])
    def test_the_gap_has_a_zero_line_on_a_scale_that_holds_it(self, top: float, scale: str, tmp_path: Path):
        figure = training_curves({"iteration": [1, 2, 3], "energy_gap": [-0.1, 0.1, top]})
        (ax,) = figure.axes
        assert ax.get_yscale() == scale
        assert ax.get_ylim()[0] < 0 < top < ax.get_ylim()[1]
        assert any(np.asarray(line.get_ydata()).tolist() == [0, 0] for line in ax.lines)
        save(figure, tmp_path / "gap.png")

    @pytest.mark.parametrize("kl", [[0.0, 0.0], [2.0, 2.1], [-1e-8, 1e-8], [1e-7, 1e7]])
    def test_awkward_ranges_draw_without_a_warning(self, kl: list[float], tmp_path: Path):
        save(training_curves({"iteration": [0, 1], "kl": kl}), tmp_path / "kl.png")

    def test_columns_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="all of one length"):
            training_curves({"iteration": [0, 1], "kl": [1.0]})
        with pytest.raises(ValueError, match="all of one length"):
            training_curves({"kl": [1.0]})
        with pytest.raises(ValueError, match="one of energy_gap"):
            training_curves({"iteration": [0], "kl": [math.nan]})

    def test_running_mean_is_the_mean_of_the_last(self):
        value = np.arange(6.0) ** 2
        assert running_mean(value, 1).tolist() == value.tolist()
        assert running_mean(value, 3).tolist() == [
            0.0,
            0.5,
            *(value[k - 2 : k + 1].mean() for k in range(2, 6)),
        ]

    def test_samplers_keep_their_colour_and_their_numbers(self, tmp_path: Path):
        x = torch.tensor([10.0, 20.0, 30.0])
        curves = {name: (x, k / x, 0.1 / x) for k, name in enumerate(("langevin", "mala"), 1)}
        samples = {name: RINGS.draw(50, rng(0, name)) for name in curves}
        figure = sampler_comparison(curves, samples, FRAME, "KL")
        *panels, below = figure.axes
        assert [ax.get_title() for ax in panels] == ["langevin", "mala"]
        assert [to_hex(ax.title.get_color()) for ax in panels] == [to_hex(line.get_color()) for line in below.lines]
        assert np.allclose(np.asarray(below.lines[1].get_ydata()), 2 / x)
        assert below.get_yscale() == "log"
        save(figure, tmp_path / "compare.png")
