"""evovae in napari: layers are denoised and inpainted, and models are learnt from them and applied to others."""
