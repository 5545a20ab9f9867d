"""References to the reproduced papers, as the experiments cite them."""

ZEILER2014 = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901"
SPRINGENBERG2015 = "Springenberg, Dosovitskiy, Brox and Riedmiller 2015, Striving for Simplicity, arXiv 1412.6806"
MAHENDRAN2015 = (
    "Mahendran and Vedaldi 2015, Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035"
)
MAHENDRAN2016 = (
    "Mahendran and Vedaldi 2016, Visualizing Deep Convolutional Neural Networks Using Natural Pre-images, IJCV"
)
DOSOVITSKIY2016 = (
    "Dosovitskiy and Brox 2016, Inverting Visual Representations with Convolutional Networks, arXiv 1506.02753"
)
NGUYEN2015 = (
    "Nguyen, Yosinski and Clune 2015, Deep Neural Networks are Easily Fooled: High Confidence Predictions for "
    "Unrecognizable Images, arXiv 1412.1897"
)
NGUYEN2016 = (
    "Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304"
)
MONTAVON2018 = (
    "Montavon, Samek and Müller 2018, Methods for Interpreting and Understanding Deep Neural Networks, Digital "
    "Signal Processing"
)
KIM2018 = (
    "Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279"
)

# Folders of experiments, in the order of the gallery.
FOLDERS = ("zeiler2014", "mahendran2015", "springenberg2015", "nguyen2016", "nguyen2015", "kim2018", "explorer")
