"""What a picture shows beside the robot: the camera and markers of goals."""
